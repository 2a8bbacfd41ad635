"""The architectures of Table 5 against their plain formulas; the axial transformer has golden numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.model.axial import AxialTransformer
from anomalyclip.model.temporal import ENCODER_LAYERS, Architecture, FrameMLP, FrameTransformer, TemporalModel

SEGMENTS, FRAMES, DIM, HEADS = 4, 3, 16, 2


def attention(layer: nn.TransformerEncoderLayer, tokens: Tensor) -> Tensor:
    """Multi-head self-attention `(tokens, dim)` a head at a time."""
    attend = layer.self_attn
    query, key, value = (tokens @ attend.in_proj_weight.T + attend.in_proj_bias).chunk(3, dim=-1)
    heads = [slice(start, start + DIM // HEADS) for start in range(0, DIM, DIM // HEADS)]
    weights = [(query[:, head] @ key[:, head].T / (DIM // HEADS) ** 0.5).softmax(dim=-1) for head in heads]
    mixed = torch.cat([weight @ value[:, head] for weight, head in zip(weights, heads, strict=True)], dim=-1)
    return attend.out_proj(mixed)


def test_a_transformer_attends_over_all_frames_of_a_clip() -> None:
    torch.manual_seed(0)
    transformer = FrameTransformer(DIM, HEADS, depth=2, tokens=SEGMENTS * FRAMES)
    grid = torch.randn(2, SEGMENTS, FRAMES, DIM)
    for clip, found in zip(grid, transformer(grid), strict=True):
        tokens = clip.reshape(-1, DIM) + transformer.positions
        for layer in transformer.encoder.layers:
            tokens = tokens + attention(layer, layer.norm1(tokens))
            tokens = tokens + layer.linear2(F.relu(layer.linear1(layer.norm2(tokens))))
        torch.testing.assert_close(found, tokens.reshape(clip.shape), rtol=1e-4, atol=1e-5)


def test_scoring_with_a_transformer_equals_training_with_it() -> None:
    transformer = FrameTransformer(DIM, HEADS, depth=2, tokens=SEGMENTS * FRAMES)
    grid = torch.randn(2, SEGMENTS, FRAMES, DIM)
    trained = transformer.train()(grid)
    with torch.inference_mode():
        torch.testing.assert_close(transformer.eval()(grid), trained, rtol=1e-4, atol=1e-5)


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
