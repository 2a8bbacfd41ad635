"""Report: one HTML file per scoring job, for people who look at events and judge them."""
