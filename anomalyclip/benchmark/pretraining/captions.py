"""Captions as tokens, tokenised once, over the few tokens that occur in them."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from anomalyclip.features.backbone import Tokenizer


class CaptionTable:
    """The captions of all pictures, each token replaced by its rank among those that occur.

    Ranks keep the order of tokens, so that the end of text is still the highest.
    """

    vocabulary: Tensor
    """Token ids that occur, `(ranks,)`, ascending."""

    def __init__(self, captions: Sequence[Sequence[str]], tokenizer: Tokenizer) -> None:
        distinct = sorted({text for group in captions for text in group})
        row = {text: number for number, text in enumerate(distinct)}
        self.vocabulary, self._ranks = torch.unique(_cut(tokenizer(distinct)), return_inverse=True)
        self._counts = torch.tensor([len(group) for group in captions])
        self._rows = torch.zeros((len(captions), int(self._counts.max())), dtype=torch.long)
        for number, group in enumerate(captions):
            self._rows[number, : len(group)] = torch.tensor([row[text] for text in group])

    def sample(self, pictures: Tensor, generator: Generator) -> Tensor:
        """Return one caption of each picture as ranks `(pictures, positions)`, cut after the longest."""
        choice = (torch.rand(len(pictures), generator=generator) * self._counts[pictures]).long()
        return _cut(self._ranks[self._rows[pictures, choice]])


def _cut(tokens: Tensor) -> Tensor:
    """Leave out the positions after the last end of text, the highest token, of `(captions, positions)`."""
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
