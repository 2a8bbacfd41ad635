"""Learning rate schedule."""

import math

from anomalyclip.config import TrainingConfig


def learning_rate(epoch: int, config: TrainingConfig) -> float:
    """Return the rate of an epoch (from 0): linear warm-up from 0, so that epoch 0 trains nothing, then half-cosine."""
    if epoch < config.warmup_epochs:
        return config.learning_rate * epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / (config.num_epochs - config.warmup_epochs)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
