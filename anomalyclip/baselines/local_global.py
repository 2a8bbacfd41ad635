"""VadCLIP's temporal model: attention inside of windows, then two graphs over the segments of a video."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.baselines.transformer import Block, QuickGELU

STD, LAYERS, WINDOW = 0.01, 2, 8
SIMILAR, SPREAD, KERNEL = 0.7, math.e, 5


class Graph(nn.Module):
    """Two layers QuickGELU(A X W + res(X)) to half the width; res is a convolution, then the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.first, self.second = nn.Linear(dim, half, bias=False), nn.Linear(half, half, bias=False)
        self.residual = nn.Conv1d(dim, half, KERNEL, padding=KERNEL // 2)
        self.activation = QuickGELU()
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Return `(videos, segments, dim / 2)` of `(videos, segments, dim)` and `(..., segments, segments)`."""
        residual = self.residual(x.transpose(1, 2)).transpose(1, 2)
        hidden = self.activation(adjacency @ self.first(x) + residual)
        return self.activation(adjacency @ self.second(hidden) + hidden)


class LocalGlobal(nn.Module):
    """Attention inside of windows, then a graph of similar segments beside one of near segments."""

    hidden_from: Tensor
    nearness: Tensor

    def __init__(self, dim: int, segments: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(STD * torch.randn(segments, dim))
        self.blocks = nn.ModuleList(Block(dim, heads=1) for _ in range(LAYERS))
        self.by_similarity, self.by_nearness = Graph(dim), Graph(dim)
        self.merge = nn.Linear(2 * (dim // 2), dim)
        place = torch.arange(segments)
        window = place // WINDOW
        self.register_buffer("hidden_from", window[:, None] != window[None, :], persistent=False)
        nearness = torch.exp(-(place[:, None] - place[None, :]).abs() / SPREAD)
        self.register_buffer("nearness", nearness, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(videos, segments, dim)` to the same shape."""
        x = x + self.positions
        for block in self.blocks:
            x = block(x, self.hidden_from)
        streams = [self.by_similarity(x, similar_segments(x)), self.by_nearness(x, self.nearness)]
        return self.merge(torch.cat(streams, dim=-1))


def similar_segments(x: Tensor) -> Tensor:
    """Return the row softmax of the cosines above 0.7 and 0 elsewhere, so others keep a weight of e^0."""
    unit = F.normalize(x, dim=-1)
    cosine = unit @ unit.transpose(1, 2)
    return torch.where(cosine > SIMILAR, cosine, 0).softmax(dim=-1)
