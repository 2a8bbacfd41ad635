"""Adapters from a folder on disk to a manifest: the public datasets, and a user's own clips."""
