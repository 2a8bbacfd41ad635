"""The method: prompts and directions, Selector, Temporal model, losses, and the whole."""
