"""The authors' released checkpoint, from its tensors to this model's.

Their names are those of `tests/golden/README.md` below `net.`: `prompt_learner`, `text_encoder`, `selector_model`,
`temporal_model` and, if the frozen towers were kept, `image_encoder` and `token_embedding`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor

from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.importing.released_names import temporal_state
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.prompts import Tokenizer, prompt_texts

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower

State = Mapping[str, Tensor]
PREFIX, IMAGE_TOWER, TEXT_TOWER = "net.", "image_encoder.", "text_encoder."


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model, as the shapes of its checkpoint show them."""

    classes: int
    context: str
    """Words instead of the context: one X per token, or the configured text that it started from."""
    context_length: int
    shared_context: bool
    positions: int
    """Of the text tower."""
    width: int
    """Of the text tower."""
    layers: int
    """Of the text tower."""
    dim: int
    """Of a feature."""
    embedding_dim: int
    depth: int
    segments: int
    frames: int
    concat_logits: bool

    @property
    def inputs(self) -> int:
        """Numbers that the Temporal model reads per frame."""
        return self.dim + (self.classes - 1) * self.concat_logits


@dataclass(frozen=True)
class Released:
    """A checkpoint in this model's terms."""

    state: dict[str, Tensor]
    """Learnt state by AnomalyCLIP's names, prompts among it."""
    class_features: Tensor
    """`(abnormal classes, dim)`"""
    config: ModelConfig


def state_of(content: Any) -> dict[str, Tensor]:
    """Return the tensors below `net.` of what a checkpoint file holds; raises UsageError for what is not one."""
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(str(name).startswith(PREFIX) for name in state):
        raise UsageError("it is not a checkpoint of AnomalyCLIP: there is no state_dict with names below net.")
    faults = [f"{name} is no plain tensor" for name, value in state.items() if not is_plain(value)]
    faults += [f"{name} is unexpected" for name in state if not str(name).startswith(PREFIX)]
    if faults:
        raise UsageError("; ".join(faults))
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor with numbers in it."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_meta or value.is_quantized)


def sizes_of(state: State, classes: int, config: ModelConfig) -> Sizes:
    """Return a checkpoint's sizes; for a missing tensor, another's or the configuration's."""

    def size(name: str, axis: int, otherwise: int) -> int:
        tensor = state.get(name)
        return tensor.shape[axis] if tensor is not None and -tensor.dim() <= axis < tensor.dim() else otherwise

    context = state.get("prompt_learner.ctx")
    width = size("text_encoder.text_projection", 0, size("prompt_learner.ctx", -1, 512))
    dim = size("text_encoder.text_projection", 1, width)
    embedding = size("temporal_model.projection.weight", 0, config.embedding_dim)
    context_length = size("prompt_learner.ctx", -2, config.context_length)
    return Sizes(
        classes=classes,
        context=config.context_text.replace("_", " ") if config.context_text else " ".join(["X"] * context_length),
        context_length=context_length,
        shared_context=context is not None and context.dim() == 2,
        positions=size("text_encoder.positional_embedding", 0, 77),
        width=width,
        layers=_numbered(state, "text_encoder.transformer.resblocks."),
        dim=dim,
        embedding_dim=embedding,
        depth=-(-_numbered(state, "temporal_model.axial_attn.layers.blocks.") // 2),
        segments=size("temporal_model.axial_attn.pos_emb.param_0", 2, config.segments),
        frames=size("temporal_model.axial_attn.pos_emb.param_1", 3, config.frames_per_segment),
        concat_logits=size("temporal_model.projection.weight", 1, dim) != dim,
    )


def context_tokens(classes: Sequence[str], sizes: Sizes, tokenizer: Tokenizer) -> Tensor:
    """Return the ids `(classes, positions)` of the prompts, with words instead of the context."""
    return tokenizer(prompt_texts(classes, sizes.context))


@torch.no_grad()
def convert(
    state: State, centroid: Tensor, classes: Sequence[str], normal_index: int, sizes: Sizes, config: ModelConfig,
    tower: "TextTower", tokenizer: Tokenizer,
) -> Released:  # fmt: skip
    """Return a faultless checkpoint in this model's terms; the class features are computed, in float32.

    `tower` is the checkpoint's text tower. Raises UsageError if its sizes do not fit the configuration.
    """
    tensors = {name: value.float() for name, value in state.items() if not name.startswith(IMAGE_TOWER)}
    context = tensors["prompt_learner.ctx"].reshape(-1, sizes.context_length, sizes.width)
    end_of_text = context_tokens(classes, sizes, tokenizer).argmax(dim=-1)
    prefix, suffix = tensors["prompt_learner.token_prefix"], tensors["prompt_learner.token_suffix"]
    prompts = torch.cat([prefix, context.expand(len(classes), -1, -1), suffix], dim=1)
    features = TextEncoder(tower)(prompts[:, : int(end_of_text.max()) + 1], end_of_text)  # causal: the rest is idle
    learnt = {
        "normality_prototype": centroid.float(),
        "directions.prompt_learner.context": context,
        "directions.text_encoder.text_projection": tensors["text_encoder.text_projection"],
        "selector.batch_norm.running_mean": tensors["selector_model.bn_layer.running_mean"],
        "selector.batch_norm.running_var": tensors["selector_model.bn_layer.running_var"],
        **{f"temporal.{name}": value for name, value in temporal_state(tensors, sizes.depth).items()},
    }
    abnormal = [index for index in range(len(classes)) if index != normal_index]
    state_of_ours = {name: value.contiguous() for name, value in learnt.items()}
    return Released(state_of_ours, features[abnormal], _configured(sizes, config))


def _configured(sizes: Sizes, config: ModelConfig) -> ModelConfig:
    """Return the configuration with the sizes that the shapes show; heads, stride and the rest are its own."""
    told = {
        "context_length": sizes.context_length,
        "shared_context": sizes.shared_context,
        "embedding_dim": sizes.embedding_dim,
        "depth": sizes.depth,
        "segments": sizes.segments,
        "frames_per_segment": sizes.frames,
        "concat_logits": sizes.concat_logits,
    }
    try:
        return ModelConfig.model_validate(config.model_dump() | told)
    except ValidationError as error:
        raise UsageError(f"model: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _numbered(state: State, prefix: str) -> int:
    """Return how many numbers follow a prefix in the names."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})
