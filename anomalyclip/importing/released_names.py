"""Names and shapes of tensors in the authors' checkpoints, for those that this model has too."""

from collections.abc import Iterator, Mapping

import torch
from einops import rearrange
from torch import Tensor

from anomalyclip.model.temporal import TemporalModel

Shape = tuple[int, ...]

_LAYER_PARTS = {
    "segment_attention": (0, "f"),
    "frame_attention": (0, "g"),
    "feed_forward_a": (1, "f"),
    "feed_forward_b": (1, "g"),
}
"""Our part of a layer: the place in its pair of reversible blocks, and the half of that block."""
_ATTENTION = {
    "norm.weight": "fn.norm.weight",
    "norm.bias": "fn.norm.bias",
    "to_q.weight": "fn.fn.to_q.weight",
    "to_kv.weight": "fn.fn.to_kv.weight",
    "to_out.weight": "fn.fn.to_out.weight",
    "to_out.bias": "fn.fn.to_out.bias",
}
_FEED_FORWARD = {
    "norm.gain": "0.g",
    "norm.bias": "0.b",
    "expand.weight": "1.weight",
    "expand.bias": "1.bias",
    "contract.weight": "3.weight",
    "contract.bias": "3.bias",
}
_AROUND = {
    "projection.weight": "projection.weight",
    "projection.bias": "projection.bias",
    "axial.segment_positions": "axial_attn.pos_emb.param_0",
    "axial.frame_positions": "axial_attn.pos_emb.param_1",
    "norm.weight": "classifier.layer_norm.weight",
    "norm.bias": "classifier.layer_norm.bias",
    "classifier.weight": "classifier.linear.weight",
    "classifier.bias": "classifier.linear.bias",
}
_TEXT_BLOCK: dict[str, Shape] = {
    "attn.in_proj_weight": (3, 1),
    "attn.in_proj_bias": (3,),
    "attn.out_proj.weight": (1, 1),
    "attn.out_proj.bias": (1,),
    "ln_1.weight": (1,),
    "ln_1.bias": (1,),
    "mlp.c_fc.weight": (4, 1),
    "mlp.c_fc.bias": (4,),
    "mlp.c_proj.weight": (1, 4),
    "mlp.c_proj.bias": (1,),
    "ln_2.weight": (1,),
    "ln_2.bias": (1,),
}
"""Shapes of a block of CLIP's text tower, in its widths."""


def temporal_names(depth: int) -> dict[str, str]:
    """Return the original's name of each of our Temporal model's parameters."""
    return _AROUND | dict(pair for layer in range(depth) for pair in _layer_names(layer))


def from_original(name: str, value: Tensor) -> Tensor:
    """Return a parameter of our Temporal model, by our name, from the original's value: channels last, norms flat."""
    if name.endswith("positions"):
        return rearrange(value, "1 dim segments frames -> segments frames dim")
    return value.flatten() if _is_channel_norm(name) else value


def temporal_state(state: Mapping[str, Tensor], depth: int, prefix: str = "temporal_model.") -> dict[str, Tensor]:
    """Return the state of our Temporal model from the original's, of which every name must be there."""
    return {ours: from_original(ours, state[prefix + theirs]) for ours, theirs in temporal_names(depth).items()}


def temporal_shapes(inputs: int, dim: int, depth: int, segments: int, frames: int) -> dict[str, Shape]:
    """Return the names and shapes of the original's Temporal model of the given sizes."""
    with torch.device("meta"):
        model = TemporalModel(inputs, dim, 1, depth, segments, frames)
    names = temporal_names(depth)
    return {names[ours]: _original_shape(ours, tuple(value.shape)) for ours, value in model.state_dict().items()}


def text_shapes(positions: int, width: int, layers: int, dim: int) -> dict[str, Shape]:
    """Return the names and shapes of a text encoder of the given sizes."""
    around = {
        "positional_embedding": (positions, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, dim),
    }
    blocks = {
        f"transformer.resblocks.{layer}.{name}": tuple(width * part for part in widths)
        for layer in range(layers)
        for name, widths in _TEXT_BLOCK.items()
    }
    return around | blocks


def _layer_names(layer: int) -> Iterator[tuple[str, str]]:
    for part, (place, half) in _LAYER_PARTS.items():
        block = f"axial_attn.layers.blocks.{2 * layer + place}.{half}.net"
        for ours, theirs in (_ATTENTION if place == 0 else _FEED_FORWARD).items():
            yield f"axial.layers.{layer}.{part}.{ours}", f"{block}.{theirs}"


def _is_channel_norm(name: str) -> bool:
    return "feed_forward" in name and ".norm." in name


def _original_shape(name: str, ours: Shape) -> Shape:
    if name.endswith("positions"):
        return 1, ours[2], ours[0], ours[1]
    return (1, *ours, 1, 1) if _is_channel_norm(name) else ours
