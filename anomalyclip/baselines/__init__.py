"""Baselines on the same stored features: competitors of the method, and logistic regression."""
