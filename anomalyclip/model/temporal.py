"""The Temporal model (Section 2), and the architectures it is compared with (Table 5)."""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from anomalyclip.model.axial import AxialTransformer

Architecture = Literal["axial", "transformer", "mlp"]

ENCODER_LAYERS = 12
"""Of a plain transformer for one axial layer: 3.7 % fewer parameters at width 256, 0.9 % more at 64."""
POSITION_STD = 0.02


class FrameTransformer(nn.Module):
    """Table 5, "Transformer": a pre-norm encoder over all frames of a clip at once, with learnt positions."""

    def __init__(self, dim: int, heads: int, depth: int, tokens: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(tokens, dim) * POSITION_STD)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Map `(videos, segments, frames, dim)` to the same shape."""
        sequence = rearrange(grid, "videos segments frames dim -> videos (segments frames) dim")
        return self.encoder(sequence + self.positions).reshape(grid.shape)


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

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `(videos, segments, frames)` of `(videos, segments, frames, input_dim)`."""
        hidden = self.get_submodule(self.architecture)(self.projection(inputs))
        return self.classifier(self.norm(hidden)).squeeze(-1).to(inputs.dtype)
