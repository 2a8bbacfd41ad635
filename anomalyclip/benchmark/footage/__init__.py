"""The embedded benchmark: simulated surveillance video with known anomalies, drawn by the package itself."""
