"""The pre-norm transformer block with QuickGELU that CLIP and its descendants have."""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map each number."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Self-attention and a four times wider MLP, each on the layer-normed stream and added to it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = wide_mlp(dim)

    def forward(self, x: Tensor, hidden_from: Tensor | None = None) -> Tensor:
        """Map `(sequences, positions, dim)`; `hidden_from` `(positions, positions)` is True where one sees not."""
        normed = self.norm_attention(x)
        x = x + self.attention(normed, normed, normed, need_weights=False, attn_mask=hidden_from)[0]
        return x + self.mlp(self.norm_mlp(x))


def wide_mlp(dim: int) -> nn.Sequential:
    """Return dim -> 4 dim QuickGELU -> dim."""
    layers = {"expand": nn.Linear(dim, 4 * dim), "activation": QuickGELU(), "contract": nn.Linear(4 * dim, dim)}
    return nn.Sequential(OrderedDict(layers))
