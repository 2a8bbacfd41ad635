"""VadCLIP's text: class names inside of learnt tokens, through CLIP's frozen text tower."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.prompts import Tokenizer, TokenLayout, token_layout

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower

CONTEXT, STD = 10, 0.01


class ContextText(nn.Module):
    """Text features of `<10 learnt tokens> <class> <10 learnt tokens>`; all classes share one table of positions."""

    embeddings: Tensor
    fixed: Tensor
    pooled_at: Tensor

    def __init__(self, names: Sequence[str], tower: "TextTower", tokenizer: Tokenizer) -> None:
        super().__init__()
        layout, limit = token_layout(tokenizer), len(tower.positional_embedding)
        found = [_ended(row, layout) for row in tokenizer([name.replace("_", " ") for name in names]).tolist()]
        positions = max(map(len, found)) + 2 * CONTEXT
        if positions > limit:
            raise UsageError(f"a class name and 20 tokens exceed the text tower's {limit} tokens: shorten the classes")
        tokens = torch.full((len(found), limit), layout.padding)
        fixed = torch.zeros(len(found), limit, 1, dtype=torch.bool)
        for row, ids in enumerate(found):
            name, end = ids[layout.start : -1], len(ids) - 1 + 2 * CONTEXT
            places = [*range(layout.start), *range(layout.start + CONTEXT, end - CONTEXT), end]
            tokens[row, places] = torch.tensor([*ids[: layout.start], *name, ids[-1]])
            fixed[row, places] = True
            fixed[row, end + 1 :] = tower.reads_padding  # else they change nothing
        positions = limit if tower.reads_padding else positions
        with torch.no_grad():
            embeddings = tower.token_embedding(tokens[:, :positions])
        self.register_buffer("embeddings", embeddings, persistent=False)
        self.register_buffer("fixed", fixed[:, :positions], persistent=False)
        self.register_buffer("pooled_at", tower.pooled_at(tokens), persistent=False)
        self.table = nn.Parameter(STD * torch.randn(positions, embeddings.shape[-1]))
        self.encoder = TextEncoder(tower, learn_projection=False)

    def forward(self) -> Tensor:
        """Return text features `(classes, dim)`, not normalised."""
        return self.encoder(torch.where(self.fixed, self.embeddings, self.table), self.pooled_at)


def _ended(row: list[int], layout: TokenLayout) -> list[int]:
    """Return token ids without the padding after the end of the text."""
    return row[: row.index(layout.end, layout.start) + 1]
