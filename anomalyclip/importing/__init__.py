"""What others made, taken over: features in NumPy files, and the authors' released checkpoints."""
