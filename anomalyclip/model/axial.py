"""The axial transformer: attention along segments, then along frames (Section 2, "Temporal Model")."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class AxialAttention(nn.Module):
    """Pre-norm multi-head self-attention along one axis of the grid of segments and frames."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, grid: Tensor) -> Tensor:
        """Attend over the second last axis of `(videos, rows, tokens, dim)`."""
        x = self.norm(grid)
        query, key, value = (
            rearrange(part, "videos rows tokens (heads dim) -> videos rows heads tokens dim", heads=self.heads)
            for part in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1))
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        merged = rearrange(attended, "videos rows heads tokens dim -> videos rows tokens (heads dim)")
        return self.to_out(merged)


class ChannelNorm(nn.Module):
    """(x - mean) / (std + 1e-5) over the channels, with the biased standard deviation outside the root."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, grid: Tensor) -> Tensor:
        """Normalise the last axis of `(..., dim)`."""
        variance, mean = torch.var_mean(grid, dim=-1, keepdim=True, correction=0)
        # as the authors' code has it: inside the root, as LayerNorm does, released weights would score differently
        return (grid - mean) / (variance.sqrt() + 1e-5) * self.gain + self.bias


class ConvFeedForward(nn.Module):
    """Channel norm, 3x3 convolution to four times the width, LeakyReLU, 3x3 convolution back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.expand = nn.Conv2d(dim, 4 * dim, kernel_size=3, padding=1)
        self.contract = nn.Conv2d(4 * dim, dim, kernel_size=3, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """Map `(videos, segments, frames, dim)` to the same shape."""
        # channels last everywhere else: attention and linear layers need it, only the convolutions do not
        channels_first = rearrange(self.norm(grid), "videos segments frames dim -> videos dim segments frames")
        hidden = F.leaky_relu(self.expand(channels_first), negative_slope=0.01)
        return rearrange(self.contract(hidden), "videos dim segments frames -> videos segments frames dim")


class AxialLayer(nn.Module):
    """One layer on the two residual streams a and b: attention along both axes, then feed-forward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.segment_attention = AxialAttention(dim, heads)
        self.frame_attention = AxialAttention(dim, heads)
        self.feed_forward_a = ConvFeedForward(dim)
        self.feed_forward_b = ConvFeedForward(dim)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams, each `(videos, segments, frames, dim)`: long-term first, then short-term."""
        # the authors' residual order is reversible; plain autograd is faster than recomputing it, at the same memory
        across_segments = self.segment_attention(b.transpose(1, 2)).transpose(1, 2)
        a = a + across_segments
        b = b + self.frame_attention(a)
        a = a + self.feed_forward_a(b)
        b = b + self.feed_forward_b(a)
        return a, b


class AxialTransformer(nn.Module):
    """Learnt positions along both axes, then `depth` layers; the output is the mean of the two streams."""

    def __init__(self, dim: int, heads: int, depth: int, segments: int, frames: int) -> None:
        super().__init__()
        # standard deviation 1, as in the authors' code; the plain transformer of Table 5 has the usual 0.02
        self.segment_positions = nn.Parameter(torch.randn(segments, 1, dim))
        self.frame_positions = nn.Parameter(torch.randn(1, frames, dim))
        self.layers = nn.ModuleList(AxialLayer(dim, heads) for _ in range(depth))

    def forward(self, grid: Tensor) -> Tensor:
        """Map `(videos, segments, frames, dim)` to the same shape."""
        a = b = grid + self.segment_positions + self.frame_positions
        for layer in self.layers:
            a, b = layer(a, b)
        return (a + b) / 2
