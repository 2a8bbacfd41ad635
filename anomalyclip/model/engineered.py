"""Class features of engineered prompts: CLIP's frozen text tower over a sentence written by hand (Table 3, row 2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anomalyclip.errors import UsageError
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.prompts import Tokenizer, fills_window

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower

ENGINEERED_PROMPT = "a video from a CCTV camera of a {}"


def engineered_prompts(classes: Sequence[str]) -> list[str]:
    """Return the sentence of every class; a `_` in a name becomes a space."""
    return [ENGINEERED_PROMPT.format(name.replace("_", " ")) for name in classes]


@torch.no_grad()
def engineered_features(classes: Sequence[str], tower: "TextTower", tokenizer: Tokenizer) -> Tensor:
    """Return the text features `(classes, dim)` of the classes' sentences, not normalised.

    Raises UsageError if a sentence is too long for the text tower.
    """
    return engineered_hidden(classes, tower, tokenizer) @ tower.text_projection


@torch.no_grad()
def engineered_hidden(classes: Sequence[str], tower: "TextTower", tokenizer: Tokenizer) -> Tensor:
    """Return the same before the projection, `(classes, rows of it)`; raises UsageError for a sentence too long."""
    texts = engineered_prompts(classes)
    tokens = tokenizer(texts).to(tower.token_embedding.weight.device)
    if fills_window(texts, tokenizer):
        raise UsageError(f"an engineered prompt exceeds the text tower's {tokens.shape[1]} tokens: shorten the classes")
    return TextEncoder(tower).hidden(tower.token_embedding(tower.needed(tokens)), tower.pooled_at(tokens))
