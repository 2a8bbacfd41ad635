"""Dropout whose mask for a video depends on the video's draw alone: not on workers, restarts or other videos."""

import torch
from torch import Tensor


class Noise:
    """The random numbers of a training step, from a seed per video `(videos,)`."""

    def __init__(self, seeds: Tensor) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]

    def dropout(self, values: Tensor, rate: float) -> Tensor:
        """Return `(videos, ...)` with a part `rate` set to 0 and the rest divided by 1 - rate."""
        # on the CPU, as the seeds: every device then drops the same
        drawn = torch.stack([torch.rand(values.shape[1:], generator=one) for one in self._generators])
        return values * (drawn >= rate).to(values.device) / (1 - rate)


def dropout(values: Tensor, rate: float, noise: Noise | None) -> Tensor:
    """Return values after dropout; unchanged without noise, outside of training."""
    return values if noise is None else noise.dropout(values, rate)
