"""Imports: features in NumPy files, and the authors' released checkpoints."""
