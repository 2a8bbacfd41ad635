"""What an event's frames say of classes that nobody trained: sums that can be added up while it lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class NewSums:
    """Sums over frames, of probabilities that something happens and what it is."""

    names: tuple[str, ...]
    total: float
    """Of the scores."""
    masses: NDArray[np.float64]
    """Of each new class: (names,)."""
    left: NDArray[np.float64]
    """Of each trained class where a new one takes its part: (names, trained classes)."""

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        scores: NDArray[np.floating[Any]],
        trained: NDArray[np.floating[Any]],
        new: NDArray[np.floating[Any]],
    ) -> "NewSums":
        """Return the sums of frames' scores `(frames,)` and probabilities `(frames, classes)`, `(frames, names)`."""
        whole = scores.astype(np.float64)
        rest = 1 - new / np.maximum(whole, np.finfo(np.float64).tiny)[:, None]
        left = np.einsum("fn,fc->nc", rest, trained.astype(np.float64))
        return cls(tuple(names), float(whole.sum()), new.sum(axis=0, dtype=np.float64), left)

    def __add__(self, other: "NewSums") -> "NewSums":
        return NewSums(self.names, self.total + other.total, self.masses + other.masses, self.left + other.left)

    def shares(self) -> dict[str, float]:
        """Return the share of each new class in the probability that something happens."""
        return dict(zip(self.names, (self.masses / (self.total or 1.0)).tolist(), strict=True))

    def label(self) -> str | None:
        """Return the new class with the largest share if it fits better than every trained one, else None."""
        if not self.names:
            return None
        best = int(self.masses.argmax())
        return self.names[best] if self.masses[best] > self.left[best].max() else None
