"""Scores of the newest frames of each window over a stream, from which all hops and delays of a pattern follow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyclip.live.layouts import Layout, window_length
from anomalyclip.model.bundle import ModelCard
from anomalyclip.model.method import Method
from tests.benchmarks.live_layouts.footage import Stream

KEPT = 128
"""Newest frames of a window that are kept."""
AT_ONCE = 32


class Pattern(NamedTuple):
    """Past of a window, in units of the model's window without a gap, and its segments that follow each other."""

    name: str
    windows: float
    recent: int | None = None
    grid: int = 16
    """Every so many frames a window is computed: hops are multiples of it."""

    def layout(self, card: ModelCard, hop: int, delay: int, least: int) -> Layout:
        """Return the layout of a model."""
        return Layout(max(1, int(self.windows * window_length(card.model))), hop, delay, least, self.recent)


PATTERNS = (
    Pattern("half", 0.5),
    Pattern("dense", 1, grid=8),
    Pattern("spread 2", 2),
    Pattern("sparse 2", 2, recent=12),
    Pattern("sparse 4", 4, recent=12),
    Pattern("grown", 8),
)


class Taken(NamedTuple):
    """Scores of a stream as they came."""

    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    known: NDArray[np.int64]
    """Frames that had come when a frame's score was known: (frames,)."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Of one stream: the newest frames' scores of the window at every multiple of the grid, and at the end."""

    frames: int
    grid: int
    newest: NDArray[np.float32]
    """`(windows, KEPT, 1 + classes)`, aligned at the end."""

    def taken(self, hop: int, delay: int, least: int) -> Taken:
        """Return the scores that count: each from the first window that has seen so much after it."""
        frames = np.arange(self.frames)
        first = -(-least // hop) * hop
        moves = np.minimum(np.maximum(-(-(frames + 1 + delay) // hop) * hop, first), self.frames)
        found = self.newest[-(-moves // self.grid) - 1, KEPT - (moves - frames)]
        return Taken(found[:, 0], found[:, 1:], moves)


def windows_of(
    model: Method, card: ModelCard, pattern: Pattern, streams: Sequence[Stream], kept: Path
) -> list[Windows]:
    """Return the windows of streams; computed once, and kept in a file."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = {stream.name: _newest(model, card, pattern, stream) for stream in streams}
        unfinished = kept.with_suffix(".part.npz")
        np.savez(unfinished, **found)
        unfinished.rename(kept)
    with np.load(kept) as file:
        return [Windows(len(stream.features), pattern.grid, file[stream.name]) for stream in streams]


def _newest(model: Method, card: ModelCard, pattern: Pattern, stream: Stream) -> NDArray[np.float32]:
    sequences = list(_sequences(card, pattern, stream))
    found = np.full((len(sequences), KEPT, 1 + len(card.classes)), np.nan, np.float32)
    for start in range(0, len(sequences), AT_ONCE):
        for place, scored in enumerate(model.score_videos(sequences[start : start + AT_ONCE]), start):
            newest = torch.cat([scored.scores[-KEPT:, None], scored.probabilities[-KEPT:]], dim=1).numpy()
            found[place, KEPT - len(newest) :] = newest
    return found


def _sequences(card: ModelCard, pattern: Pattern, stream: Stream) -> Iterator[torch.Tensor]:
    layout, count = pattern.layout(card, 1, 0, 1), len(stream.features)
    for end in [*range(pattern.grid, count, pattern.grid), count]:
        past = stream.features[max(0, end - layout.span) : end, 0]
        places = layout.places(len(past), card.model)
        yield torch.from_numpy(past if places is None else past[places])
