"""RTFM's multi-scale temporal block: dilated convolutions and a non-local block over the segments of a video."""

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from anomalyclip.model.selector import GlobalBatchNorm

Norm = Literal["batch", "group"]
"""RTFM: batch norm after each ReLU. S3R: group norm before it."""
DILATIONS = (1, 2, 4)
GROUPS = 8


class ChannelBatchNorm(nn.Module):
    """Batch norm with gain and bias over the positions of all videos, those of all workers too."""

    def __init__(self, channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.statistics = GlobalBatchNorm(channels)
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the channels of `(videos, channels, time)`."""
        rows = rearrange(x, "videos channels time -> (videos time) channels").to(self.gain.dtype)
        scaled = self.statistics(rows) * self.gain + self.bias
        return rearrange(scaled, "(videos time) channels -> videos channels time", videos=len(x))


class NonLocal(nn.Module):
    """x + BN(W y) with y = (theta phi^T / T) g, without softmax; BN starts at 0, the block as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv1d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv1d(inner, channels, 1)
        self.norm = ChannelBatchNorm(channels, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(videos, channels, time)` to the same shape."""
        pairs = self.theta(x).transpose(1, 2) @ self.phi(x) / x.shape[-1]
        return x + self.norm(self.out(self.g(x) @ pairs.transpose(1, 2)))


class MultiScale(nn.Module):
    """x + a convolution of four branches, each a quarter of the width: dilations 1, 2, 4, and a non-local block."""

    def __init__(self, dim: int, norm: Norm = "batch") -> None:
        super().__init__()
        quarter = dim // 4
        self.scales = nn.ModuleList(
            _unit(nn.Conv1d(dim, quarter, 3, padding=dilation, dilation=dilation), norm) for dilation in DILATIONS
        )
        self.non_local = nn.Sequential(nn.Conv1d(dim, quarter, 1, bias=False), nn.ReLU(), NonLocal(quarter))
        self.merge = _unit(nn.Conv1d(4 * quarter, dim, 3, padding=1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(videos, time, dim)` to the same shape."""
        channels_first = x.transpose(1, 2)
        branches = [branch(channels_first) for branch in (*self.scales, self.non_local)]
        return x + self.merge(torch.cat(branches, dim=1)).transpose(1, 2)


def xavier_init(module: nn.Module) -> None:
    """Initialise all linear layers and convolutions as RTFM does: Xavier uniform weights, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _unit(convolution: nn.Conv1d, norm: Norm) -> nn.Sequential:
    channels = convolution.out_channels
    if norm == "batch":
        return nn.Sequential(convolution, nn.ReLU(), ChannelBatchNorm(channels))
    # as many groups as divide the channels: the authors' 512 and 2,048 have 8
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(GROUPS, channels), channels), nn.ReLU())
