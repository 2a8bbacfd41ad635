"""The towers of OpenAI's CLIP that the authors' checkpoints carry along."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Tokenizer, image_identity, new_backbone, with_quick_gelu
from anomalyclip.features.text_tower import TextTower, text_tower
from anomalyclip.importing.released_faults import misfits

# isort: split
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU, TextTransformer

HEAD_WIDTH = 64


def clip_tokenizer(positions: int) -> Tokenizer:
    """Return CLIP's byte-pair tokenizer for a text tower of so many positions."""
    return cast(Tokenizer, SimpleTokenizer(context_length=positions))


def new_text_tower(state: Mapping[str, Tensor]) -> TextTower:
    """Return OpenAI's causal text tower with QuickGELU, its sizes and weights those of a faultless state dict."""
    positions, width = state["positional_embedding"].shape
    layers = len({name.split(".")[2] for name in state if name.startswith("transformer.resblocks.")})
    tower = TextTransformer(
        context_length=positions,
        vocab_size=1,  # its prompts come as embeddings
        width=width,
        heads=width // HEAD_WIDTH,
        layers=layers,
        output_dim=state["text_projection"].shape[1],
        act_layer=QuickGELU,
    )
    tower.load_state_dict({**state, "token_embedding.weight": tower.token_embedding.weight})
    return text_tower(tower.eval().requires_grad_(False))


def image_tower_identity(name: str, dim: int, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the architecture and the identity that a backbone with this image tower has, without a download.

    Weights in half precision have the identity of the same numbers in float32, as they are loaded. Raises UsageError
    with every tensor that does not fit the architecture, and if its features have not `dim` numbers.
    """
    backbone = new_backbone(with_quick_gelu(name, "the checkpoint's image tower"))
    visual = backbone.model.get_submodule("visual")
    expected = {key: tuple(value.shape) for key, value in visual.state_dict().items()}
    faults = list(misfits(expected, tensors))
    if backbone.dim != dim:
        faults.append(f"its features have {backbone.dim} numbers, the checkpoint's {dim}")
    if faults:
        raise UsageError(f"image tower of {backbone.name}: {'; '.join(faults)}")
    visual.load_state_dict(dict(tensors))
    return backbone.name, image_identity(backbone.architecture, backbone.model)
