"""Live cameras: frames as they come, scores of a sliding window, and events as they open, change and close."""
