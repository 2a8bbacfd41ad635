"""Bag sampling, the training loop, validation and checkpoints."""
