"""New classes by name on the drawn benchmark: each class left out of training in turn, and recognised by its name."""
