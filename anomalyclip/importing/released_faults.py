"""Faults that keep an authors' checkpoint from becoming a model, each with its name and shapes."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from anomalyclip.config import ModelConfig
from anomalyclip.importing.released_checkpoint import IMAGE_TOWER, Sizes, State, context_tokens
from anomalyclip.importing.released_names import Shape, temporal_shapes, text_shapes
from anomalyclip.model.prompts import Tokenizer

_TABLE = "token_embedding.weight"
_IDLE = frozenset({_TABLE, "logit_scale", "selector_model.logit_scale", "selector_model.bn_layer.num_batches_tracked"})
"""Tensors that a checkpoint may hold although no score depends on them."""
_ALWAYS = {
    "directions": "finetuned", "likelihood": "projection", "selection": "likelihood", "temporal": "axial",
    "standardise": False, "linear": False, "zero_shot": False,
}  # fmt: skip
"""The variant of the method that was released."""
_CENTROID = "the centroid"


def faults_of(
    state: State, centroid: Tensor, classes: Sequence[str], sizes: Sizes, config: ModelConfig, tokenizer: Tokenizer
) -> list[str]:
    """Return everything that keeps a checkpoint from becoming a model: names, shapes, values, labels, settings."""
    own = {name: value for name, value in state.items() if name not in _IDLE and not name.startswith(IMAGE_TOWER)}
    faults = list(misfits(expected_shapes(sizes, _suffix(state, sizes)), own))
    if tuple(centroid.shape) != (sizes.dim,):
        faults.append(f"{_CENTROID} is {tuple(centroid.shape)}, not {(sizes.dim,)}")
    values = {**state, _CENTROID: centroid}
    whole_numbers = [name for name in (*own, _CENTROID) if not values[name].is_floating_point()]
    faults += [f"{name} is {values[name].dtype}" for name in whole_numbers]
    faults += [f"{name} holds NaN or infinity" for name, value in values.items() if not value.isfinite().all()]
    if sizes.width % 64:
        faults.append(f"the text tower's width {sizes.width} is no multiple of 64, the width of a head")
    if (words := len(sizes.context.split())) != sizes.context_length:
        faults.append(f"model.context_text has {words} words, the checkpoint's context {sizes.context_length} tokens")
    settings = config.model_dump()
    faults += [f"model.{key}={settings[key]} is not what was released ({value})" for key, value in _ALWAYS.items()
               if settings[key] != value]  # fmt: skip
    return faults or list(_label_faults(state, classes, sizes, tokenizer))


def misfits(expected: Mapping[str, Shape], given: State) -> Iterator[str]:
    """Give each tensor that is missing, unexpected or of another shape, with its name and shapes."""
    for name, shape in expected.items():
        if name not in given:
            yield f"{name} {shape} is missing"
        elif tuple(given[name].shape) != shape:
            yield f"{name} is {tuple(given[name].shape)}, not {shape}"
    for name in sorted(given.keys() - expected.keys()):
        yield f"{name} {tuple(given[name].shape)} is unexpected"


def expected_shapes(sizes: Sizes, suffix: int) -> dict[str, Shape]:
    """Return the names and shapes of a whole checkpoint but its image tower.

    `suffix` is the number of positions after the context.
    """
    context = (sizes.context_length, sizes.width)
    text = text_shapes(sizes.positions, sizes.width, sizes.layers, sizes.dim)
    temporal = temporal_shapes(sizes.inputs, sizes.embedding_dim, sizes.depth, sizes.segments, sizes.frames)
    return {
        "prompt_learner.ctx": context if sizes.shared_context else (sizes.classes, *context),
        "prompt_learner.token_prefix": (sizes.classes, 1, sizes.width),
        "prompt_learner.token_suffix": (sizes.classes, suffix, sizes.width),
        "selector_model.bn_layer.running_mean": (sizes.classes - 1,),
        "selector_model.bn_layer.running_var": (sizes.classes - 1,),
        **{f"text_encoder.{name}": shape for name, shape in text.items()},
        **{f"temporal_model.{name}": shape for name, shape in temporal.items()},
    }


def _suffix(state: State, sizes: Sizes) -> int:
    """Return the positions after the context: all of the tower's, or fewer if the checkpoint cuts unused ones."""
    whole, given = sizes.positions - 1 - sizes.context_length, state.get("prompt_learner.token_suffix")
    return min(whole, given.shape[1]) if given is not None and given.dim() == 3 else whole


def _label_faults(state: State, classes: Sequence[str], sizes: Sizes, tokenizer: Tokenizer) -> Iterator[str]:
    """Give the classes whose tokens are not those that the checkpoint holds: other names, or another order."""
    prefix, suffix = state["prompt_learner.token_prefix"], state["prompt_learner.token_suffix"]
    tokens = context_tokens(classes, sizes, tokenizer)
    end_of_text = tokens.argmax(dim=-1, keepdim=True)
    given = 1 + sizes.context_length + suffix.shape[1]
    if int(end_of_text.max()) >= min(given, tokens.shape[1] - 1):  # the tokenizer cuts there
        yield f"the labels' prompts have up to {int(end_of_text.max()) + 1} tokens, more than the checkpoint's"
        return
    kept = torch.arange(given) <= end_of_text
    kept[:, 1 : 1 + sizes.context_length] = False
    context = prefix.new_zeros(sizes.classes, sizes.context_length, sizes.width)
    ids, rows = tokens[:, :given][kept], torch.cat([prefix, context, suffix], dim=1)[kept]
    differs = (rows != _embedded(ids, rows, state.get(_TABLE))).any(dim=-1)
    wrong = torch.zeros_like(kept).masked_scatter(kept, differs).any(dim=-1).tolist()
    if names := [name for name, is_wrong in zip(classes, wrong, strict=True) if is_wrong]:
        yield f"the prompts are not those of the labels in this order: {', '.join(names)}"


def _embedded(ids: Tensor, rows: Tensor, table: Tensor | None) -> Tensor:
    """Return the embeddings that tokens must have: CLIP's if its table is there, else those of their first place."""
    if table is not None and table.dim() == 2 and len(table) > int(ids.max()):
        return table[ids]
    unique, places = ids.unique(return_inverse=True)
    first = torch.full_like(unique, len(ids)).scatter_reduce(0, places, torch.arange(len(ids)), "amin")
    return rows[first[places]]
