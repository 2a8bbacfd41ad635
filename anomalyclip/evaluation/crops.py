"""Crops: the scores of a video that has features of several crops."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mean_over_crops(score: Callable[[Tensor], Sequence[Tensor]], features: Tensor) -> tuple[Tensor, ...]:
    """Score each crop of a video's features `(frames, crops, dim)` by itself, and return the means.

    `score` takes `(frames, dim)` and returns tensors `(frames, ...)`; means of probabilities still sum to 1.
    """
    results = [score(crop) for crop in features.unbind(dim=1)]
    return tuple(torch.stack(parts).mean(dim=0) for parts in zip(*results, strict=True))
