"""The architectures of Table 5 against their plain formulas; the axial transformer has golden numbers."""

import pytest
import torch
from torch import nn

from anomalyclip.config import Architecture
from anomalyclip.model.axial import AxialTransformer
from anomalyclip.model.temporal import (
    ENCODER_LAYERS,
    EncoderLayer,
    FrameMLP,
    FrameTransformer,
    TemporalModel,
)

SEGMENTS, FRAMES, DIM, HEADS = 4, 3, 16, 2


def torchs_own(layer: EncoderLayer) -> nn.TransformerEncoderLayer:
    """PyTorch's encoder layer with the same weights."""
    theirs = nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, dropout=0.0, batch_first=True, norm_first=True)
    second_norm, expand, _, contract = layer.feed_forward
    theirs.norm1, theirs.norm2, theirs.linear1, theirs.linear2 = layer.norm, second_norm, expand, contract
    theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias = layer.to_qkv.weight, layer.to_qkv.bias
    theirs.self_attn.out_proj.load_state_dict(layer.to_out.state_dict())
    return theirs


def test_a_transformer_is_a_standard_encoder_over_all_frames_of_a_clip() -> None:
    torch.manual_seed(0)
    transformer = FrameTransformer(DIM, HEADS, depth=2, tokens=SEGMENTS * FRAMES)
    grid = torch.randn(2, SEGMENTS, FRAMES, DIM)
    expected = grid.reshape(2, -1, DIM) + transformer.positions
    for layer in transformer.layers:
        expected = torchs_own(layer)(expected)
    torch.testing.assert_close(transformer(grid), expected.reshape(grid.shape), rtol=1e-4, atol=1e-5)


def test_an_mlp_is_three_linear_layers_on_each_frame() -> None:
    mlp = FrameMLP(DIM)
    first, second, third = (layer for layer in mlp if isinstance(layer, nn.Linear))
    grid = torch.randn(2, SEGMENTS, FRAMES, DIM)
    expected = third(second(first(grid).clamp(min=0)).clamp(min=0))
    torch.testing.assert_close(mlp(grid), expected)
    assert [layer.weight.shape for layer in (first, second, third)] == [(DIM, DIM)] * 3


@pytest.mark.parametrize("architecture, sees", [("axial", True), ("transformer", True), ("mlp", False)])
def test_only_an_mlp_judges_a_frame_without_the_others(architecture: Architecture, sees: bool) -> None:
    torch.manual_seed(0)
    model = TemporalModel(8, DIM, HEADS, 1, SEGMENTS, FRAMES, architecture)
    clips = torch.randn(1, SEGMENTS, FRAMES, 8)
    other = clips.clone()
    other[0, 2, 1] += 1
    changed = model(clips) != model(other)
    assert changed[0, 2, 1]
    assert bool(changed.sum() > 1) == sees


@pytest.mark.parametrize("dim", [64, 256])
def test_a_transformer_is_as_large_as_the_axial_one(dim: int) -> None:
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    axial = size(AxialTransformer(dim, 8, 1, 32, 16))
    assert size(FrameTransformer(dim, 8, ENCODER_LAYERS, 512)) == pytest.approx(axial, rel=0.05)
