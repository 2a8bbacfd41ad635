"""Evaluation of predictions: the table of predictions, its figures, their intervals and plots."""
