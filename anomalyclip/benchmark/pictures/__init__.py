"""Illustrations with captions, the world that `clip-tiny` learns from."""
