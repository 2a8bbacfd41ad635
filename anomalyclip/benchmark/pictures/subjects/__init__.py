"""Subjects of the illustrations that `clip-tiny` learns from.

A subject is drawn on the ground at `(x, y)`, `size` pixels high or so, with its choices from a generator.
"""
