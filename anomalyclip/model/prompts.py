"""Prompt learning (CoOp): learnt context vectors in front of each class name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower

CONTEXT_STD = 0.02
Tokenizer = Callable[[list[str]], Tensor]


class TokenLayout(NamedTuple):
    """What a tokenizer puts around a text."""

    start: int
    """Tokens before the text: 1 for CLIP, 0 for SigLIP."""
    end: int
    """Id of the token after the text."""
    padding: int
    """Id of the positions after that; SigLIP's first version has the id of the end there."""


def token_layout(tokenizer: Tokenizer) -> TokenLayout:
    """Return a tokenizer's layout, seen from what it makes of an empty text and of a word."""
    empty, word = tokenizer(["", "x"])
    start = int(empty[0] == word[0])
    return TokenLayout(start, int(empty[start]), int(empty[-1]))


def fills_window(texts: list[str], tokenizer: Tokenizer) -> bool:
    """Whether a text takes the whole context window or is cut there: one more word then changes nothing."""
    longer = tokenizer([f"{text} x" for text in texts])
    return bool((tokenizer(texts) == longer).all(dim=-1).any())


def prompt_texts(classes: Sequence[str], context: str) -> list[str]:
    """Return `<context> <class name>.` for every class; a `_` in a name becomes a space."""
    return [f"{context} {name.replace('_', ' ')}." for name in classes]


class PromptLearner(nn.Module):
    """The prompts [t_ctx, t_c] of all classes as token embeddings, with a learnable context t_ctx.

    The context replaces the first `context_length` positions of the text. In a causal text tower, positions after the
    end of the longest prompt are left out: this changes nothing and saves time.
    """

    pooled_at: Tensor
    start_embedding: Tensor
    name_embeddings: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        tokenizer: Tokenizer,
        tower: "TextTower",
        *,
        context_length: int,
        context_text: str | None = None,
        shared_context: bool = False,
    ) -> None:
        super().__init__()
        words = context_text.replace("_", " ").split() if context_text else ["X"] * context_length
        self.context_length = len(words)
        texts = prompt_texts(classes, " ".join(words))
        tokens = tokenizer(texts)
        if fills_window(texts, tokenizer):
            raise UsageError(
                f"prompts of {self.context_length} words and a class name exceed the text tower's {tokens.shape[1]} "
                "tokens: shorten model.context_length or model.context_text"
            )
        with torch.no_grad():
            embeddings = tower.token_embedding(tower.needed(tokens))
        start = token_layout(tokenizer).start
        after = start + self.context_length
        self.register_buffer("pooled_at", tower.pooled_at(tokens), persistent=False)
        self.register_buffer("start_embedding", embeddings[:, :start], persistent=False)
        self.register_buffer("name_embeddings", embeddings[:, after:], persistent=False)
        # Normal gets a context too, although no loss reaches it: released checkpoints have one row per class
        shape = (1 if shared_context else len(classes), self.context_length, embeddings.shape[-1])
        words_start = embeddings[:1, start:after].expand(shape).clone()
        self.context = nn.Parameter(words_start if context_text else torch.randn(shape) * CONTEXT_STD)

    def forward(self, class_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return prompts `(selected, positions, width)` and the positions of their features `(selected,)`."""
        context = self.context.expand(len(self.pooled_at), -1, -1)
        prompts = torch.cat([self.start_embedding, context, self.name_embeddings], dim=1)
        return prompts[class_indices], self.pooled_at[class_indices]
