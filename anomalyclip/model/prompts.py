"""Prompt learning (CoOp): learnt context vectors in front of each class name."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError

CONTEXT_STD = 0.02
Tokenizer = Callable[[list[str]], Tensor]


def prompt_tokens(classes: Sequence[str], context: str, tokenizer: Tokenizer) -> Tensor:
    """Return the token ids `(classes, context window)` of `<context> <class name>.` for every class."""
    names = [name.replace("_", " ") for name in classes]
    return tokenizer([f"{context} {name}." for name in names])


class PromptLearner(nn.Module):
    """The prompts [t_ctx, t_c] of all classes as token embeddings, with a learnable context t_ctx.

    The context replaces positions 1 to `context_length`; positions after the end-of-text of
    the longest prompt are left out: in a causal text tower this changes nothing and saves time.
    """

    end_of_text: Tensor
    start_embedding: Tensor
    name_embeddings: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        tokenizer: Tokenizer,
        token_embedding: nn.Embedding,
        *,
        context_length: int,
        context_text: str | None = None,
        shared_context: bool = False,
    ) -> None:
        super().__init__()
        words = context_text.replace("_", " ").split() if context_text else ["X"] * context_length
        self.context_length = len(words)
        tokens = prompt_tokens(classes, " ".join(words), tokenizer)
        # CLIP gives the end of text the highest id of its vocabulary
        end_of_text = tokens.argmax(dim=-1)
        if int(end_of_text.max()) + 1 == tokens.shape[1]:  # the tokenizer cuts there
            raise UsageError(
                f"prompts of {self.context_length} words and a class name exceed the text tower's {tokens.shape[1]} "
                "tokens: shorten model.context_length or model.context_text"
            )
        with torch.no_grad():
            embeddings = token_embedding(tokens[:, : int(end_of_text.max()) + 1])
        after = 1 + self.context_length
        self.register_buffer("end_of_text", end_of_text, persistent=False)
        self.register_buffer("start_embedding", embeddings[:, :1], persistent=False)
        self.register_buffer("name_embeddings", embeddings[:, after:], persistent=False)
        # Normal gets a context too, although no loss reaches it: released checkpoints have one row per class
        shape = (1 if shared_context else len(classes), self.context_length, embeddings.shape[-1])
        words_start = embeddings[:1, 1:after].expand(shape).clone()
        self.context = nn.Parameter(words_start if context_text else torch.randn(shape) * CONTEXT_STD)

    def forward(self, class_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return prompts `(selected, positions, width)` and end-of-text positions `(selected,)`."""
        context = self.context.expand(len(self.end_of_text), -1, -1)
        prompts = torch.cat([self.start_embedding, context, self.name_embeddings], dim=1)
        return prompts[class_indices], self.end_of_text[class_indices]
