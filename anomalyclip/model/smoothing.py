"""Gaussian smoothing of a video's logits along time."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 4
"""Half the width of the kernel, in standard deviations."""


def smooth(values: Tensor, std: float) -> Tensor:
    """Smooth `(steps, columns)` along the first axis by a Gaussian of `std` steps; the ends repeat their values.

    A `std` of 0 changes nothing.
    """
    if std == 0:
        return values
    radius = math.ceil(RADIUS * std)
    offsets = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / std).square())
    columns = values.T[:, None]  # (columns, 1, steps): every column is a sample with one channel
    padded = F.pad(columns, (radius, radius), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0].T
