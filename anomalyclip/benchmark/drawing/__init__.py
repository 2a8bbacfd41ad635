"""Shapes, people, vehicles and fire, for the footage and for the pictures of pre-training."""
