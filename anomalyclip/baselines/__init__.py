"""Baselines trained on the same features as a model: what seconds of training give."""
