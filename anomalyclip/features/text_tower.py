"""Text towers of open_clip by their parts, so that learnt embeddings can be fed to them."""

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError
from anomalyclip.features import torchvision_fix  # noqa: F401 - before open_clip, which imports torchvision

# isort: split
import open_clip
from open_clip.transformer import TextTransformer

Pooling = Literal["argmax", "eos", "last"]
POOLINGS = get_args(Pooling)


@dataclass(frozen=True, eq=False)
class TextTower:
    """A text transformer and where it reads the feature of a text: CLIP's, SigLIP's, MobileCLIP's and others."""

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    """(context window, width)"""
    transformer: nn.Module
    ln_final: nn.Module
    text_projection: Tensor
    """(width, dim); where the projection has a bias, that is one more row, for hidden states with a 1 at their end."""
    attn_mask: Tensor | None
    """(context window, context window), causal; None where every position sees all others."""
    pooling: Pooling
    """Position of the feature: that of the highest id (CLIP's end of text), of `eos_id`, or the last of the window."""
    eos_id: int

    @property
    def has_bias(self) -> bool:
        """Whether the projection has a bias, as its last row."""
        return len(self.text_projection) > self.positional_embedding.shape[1]

    @property
    def reads_padding(self) -> bool:
        """Whether positions after the text change its feature, so that none may be left out."""
        return self.attn_mask is None or self.pooling == "last"

    def pooled_at(self, tokens: Tensor) -> Tensor:
        """Return the position of the feature `(texts,)` of token ids `(texts, context window)`."""
        match self.pooling:
            case "argmax":
                return tokens.argmax(dim=-1)
            case "eos":
                return (tokens == self.eos_id).int().argmax(dim=-1)
            case "last":
                return torch.full_like(tokens[:, 0], tokens.shape[1] - 1)

    def needed(self, tokens: Tensor) -> Tensor:
        """Return the token ids without the positions after the longest text, where these change nothing."""
        return tokens if self.reads_padding else tokens[:, : int(self.pooled_at(tokens).max()) + 1]

    def mask(self, positions: int) -> Tensor | None:
        """Return the mask of the first positions."""
        return None if self.attn_mask is None else self.attn_mask[:positions, :positions]


def text_tower(model: nn.Module) -> TextTower:
    """Return the text tower of a CLIP; raises UsageError, with the reason, for one that cannot read learnt prompts."""
    tower: Any = getattr(model, "text", model)
    own = isinstance(tower, open_clip.CLIP)
    pooling = getattr(tower, "text_pool_type" if own else "pool_type", None)
    reason = None
    if not own and not isinstance(tower, TextTransformer):
        reason = f"its {type(tower).__name__} is not open_clip's own transformer, but for example one of Hugging Face"
    elif getattr(tower, "cls_emb", None) is not None:
        reason = "it adds a token of its own after the text, as CoCa does"
    elif pooling not in POOLINGS:
        reason = f"it reads the feature of a text by `{pooling}`, not by one of {', '.join(POOLINGS)}"
    if reason:
        raise UsageError(
            f"the text tower of this {type(model).__name__} cannot read learnt prompts: {reason}; "
            "set model.directions=free, or take another backbone"
        )
    return TextTower(
        tower.token_embedding,
        tower.positional_embedding,
        tower.transformer,
        tower.ln_final,
        _matrix(tower.text_projection, tower.positional_embedding),
        tower.attn_mask,
        cast(Pooling, pooling),
        tower.text_eos_id if own else tower.eos_id,
    )


def _matrix(projection: nn.Parameter | nn.Linear | None, positions: Tensor) -> Tensor:
    """Return a projection as one matrix: CLIP's own is one; with a bias in its last row; the identity for none."""
    if projection is None:
        return torch.eye(positions.shape[1], device=positions.device)
    if isinstance(projection, nn.Parameter):
        return projection
    rows = projection.weight.detach().T
    return rows if projection.bias is None else torch.cat([rows, projection.bias.detach()[None]])
