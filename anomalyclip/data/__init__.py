"""From a manifest to the frames of its videos: tables, labels, splits, decoding."""
