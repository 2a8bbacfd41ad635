"""VadCLIP's text: class names inside of learnt tokens, through CLIP's frozen text tower."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anomalyclip.errors import UsageError
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.prompts import Tokenizer

if TYPE_CHECKING:
    from anomalyclip.features.backbone import TextTower

CONTEXT, STD = 10, 0.01


class ContextText(nn.Module):
    """Text features of `<10 learnt tokens> <class> <10 learnt tokens>`; all classes share one table of positions."""

    embeddings: Tensor
    fixed: Tensor
    end_of_text: Tensor

    def __init__(self, names: Sequence[str], tower: "TextTower", tokenizer: Tokenizer) -> None:
        super().__init__()
        found = [row[: int(row.argmax()) + 1].tolist() for row in tokenizer([name.replace("_", " ") for name in names])]
        positions = max(map(len, found)) + 2 * CONTEXT
        limit = len(tower.positional_embedding)
        if positions > limit:
            raise UsageError(f"a class name and 20 tokens exceed the text tower's {limit} tokens: shorten the classes")
        tokens = torch.zeros(len(found), positions, dtype=torch.long)
        fixed = torch.zeros(len(found), positions, 1, dtype=torch.bool)
        for row, (start, *name, end) in enumerate(found):
            for position, token in [(0, start), *enumerate(name, 1 + CONTEXT), (1 + 2 * CONTEXT + len(name), end)]:
                tokens[row, position], fixed[row, position] = token, True
        with torch.no_grad():
            embeddings = tower.token_embedding(tokens)
        self.register_buffer("embeddings", embeddings, persistent=False)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer(
            "end_of_text", torch.tensor([len(row) - 1 + 2 * CONTEXT for row in found]), persistent=False
        )
        self.table = nn.Parameter(STD * torch.randn(positions, embeddings.shape[-1]))
        self.encoder = TextEncoder(tower, learn_projection=False)

    def forward(self) -> Tensor:
        """Return text features `(classes, dim)`, not normalised."""
        return self.encoder(torch.where(self.fixed, self.embeddings, self.table), self.end_of_text)
