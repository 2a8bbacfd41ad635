"""Find and name anomalies in surveillance video."""
