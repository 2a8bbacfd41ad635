"""Cameras: what is received of a source, in a process of its own, and what is kept of it for a while."""
