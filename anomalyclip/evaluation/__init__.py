"""What predictions are worth: the table of predictions, its figures, their intervals and plots."""
