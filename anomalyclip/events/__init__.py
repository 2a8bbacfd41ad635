"""Events: from scores per frame to a list of events, and thresholds from footage that is known to be normal."""
