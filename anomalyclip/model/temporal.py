"""The Temporal model (Section 2) and the architectures of Table 5."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from anomalyclip.config import Architecture
from anomalyclip.model.axial import AxialTransformer

ENCODER_LAYERS = 12
"""Layers of a plain transformer per axial layer: 3.7 % fewer parameters at width 256, 0.9 % more at 64."""
POSITION_STD = 0.02


class EncoderLayer(nn.Module):
    """Pre-norm self-attention, then a feed-forward of four times the width (twice as fast here as PyTorch's own)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, sequence: Tensor) -> Tensor:
        """Map `(videos, tokens, dim)` to the same shape."""
        parts = self.to_qkv(self.norm(sequence))
        query, key, value = rearrange(
            parts, "videos tokens (parts heads dim) -> parts videos heads tokens dim", parts=3, heads=self.heads
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        sequence = sequence + self.to_out(rearrange(attended, "videos heads tokens dim -> videos tokens (heads dim)"))
        return sequence + self.feed_forward(sequence)


class FrameTransformer(nn.Module):
    """Table 5, "Transformer": an encoder over all frames of a clip at once, with learnt positions."""

    def __init__(self, dim: int, heads: int, depth: int, tokens: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(tokens, dim) * POSITION_STD)
        self.layers = nn.Sequential(*(EncoderLayer(dim, heads) for _ in range(depth)))

    def forward(self, grid: Tensor) -> Tensor:
        """Map `(videos, segments, frames, dim)` to the same shape."""
        sequence = rearrange(grid, "videos segments frames dim -> videos (segments frames) dim")
        return self.layers(sequence + self.positions).reshape(grid.shape)


class FrameMLP(nn.Sequential):
    """Table 5, "MLP": three linear layers on each frame `(..., dim)` alone."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))


class TemporalModel(nn.Module):
    """Linear, an architecture, LayerNorm and Linear: the logit of the anomaly probability p_A(x) of a frame."""

    def __init__(
        self,
        input_dim: int,
        embedding_dim: int,
        heads: int,
        depth: int,
        segments: int,
        frames: int,
        architecture: Architecture = "axial",
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.projection = nn.Linear(input_dim, embedding_dim)
        match architecture:
            case "axial":
                self.axial = AxialTransformer(embedding_dim, heads, depth, segments, frames)
            case "transformer":
                self.transformer = FrameTransformer(embedding_dim, heads, ENCODER_LAYERS * depth, segments * frames)
            case "mlp":
                self.mlp = FrameMLP(embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim)
        self.classifier = nn.Linear(embedding_dim, 1)

    @torch.no_grad()
    def scale_positions(self, factor: float) -> None:
        """Multiply the axial transformer's positions, drawn from N(0, 1); the other architectures have none like it."""
        if self.architecture == "axial":
            self.axial.segment_positions.mul_(factor)
            self.axial.frame_positions.mul_(factor)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `(videos, segments, frames)` of `(videos, segments, frames, input_dim)`."""
        hidden = self.get_submodule(self.architecture)(self.projection(inputs))
        # a logit, not a probability: the losses take its logsigmoid, which stays finite where a logarithm would not
        return self.classifier(self.norm(hidden)).squeeze(-1).to(inputs.dtype)
