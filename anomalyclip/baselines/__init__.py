"""Competitors of the method on the same stored features, each with its authors' loss and optimiser."""
