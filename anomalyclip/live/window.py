"""Past of a camera: its newest features, and the windows that fall due as more come."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.features.feature_file import Features
from anomalyclip.live.layouts import Layout


class Pushed(NamedTuple):
    """New features of a camera."""

    features: Features
    """`(frames, crops, dim)`, as they would be stored."""
    times: NDArray[np.float64]
    """Unix time of each frame in seconds: (frames,)."""
    numbers: NDArray[np.int64]
    """Of the frames among all of the camera: (frames,)."""


class Due(NamedTuple):
    """A window to be scored."""

    features: Features
    """`(frames, crops, dim)` in order of time."""
    counted: slice
    """Frames of the window whose scores count."""
    times: NDArray[np.float64]
    numbers: NDArray[np.int64]
    """Of the frames that count."""


class Window:
    """The newest features of one camera in memory of a fixed size. How they are grouped as they come changes nothing.

    Args:
        layout: with `span` features kept.
        crops: views of a frame.
        dim: numbers in a feature.
    """

    def __init__(self, layout: Layout, crops: int, dim: int) -> None:
        self._layout = layout
        # twice the span: the newest features are always one piece, and are moved once per span
        size = 2 * layout.span
        self._features = np.empty((size, crops, dim), np.float16)
        self._times, self._numbers = np.empty(size), np.empty(size, np.int64)
        self._end = self._kept = self._seen = self._scored = 0

    def push(self, pushed: Pushed) -> Iterator[Due]:
        """Add features; yields the windows that fall due, each before the next features come in."""
        start = 0
        while start < len(pushed.features):
            stop = min(len(pushed.features), start + self._until_move())
            rows = slice(start, stop)
            self._append(Pushed(pushed.features[rows], pushed.times[rows], pushed.numbers[rows]))
            start = stop
            if self._moves() and (due := self._due(self._layout.delay)):
                yield due

    def finish(self) -> Due | None:
        """Return the window for all frames that have no score yet, as nothing more comes; None if all have one."""
        return self._due(delay=0)

    def take_over(self, other: "Window") -> None:
        """Keep the newest features of another window, and what of them has no score yet."""
        kept = min(other._kept, self._layout.span)
        rows = slice(other._end - kept, other._end)
        self._append(Pushed(other._features[rows], other._times[rows], other._numbers[rows]))
        self._seen, self._scored = other._seen, max(other._scored, other._seen - kept)

    def _until_move(self) -> int:
        """Return how many features come before the window moves next."""
        layout = self._layout
        return max(layout.least - self._seen, layout.hop - self._seen % layout.hop)

    def _moves(self) -> bool:
        return self._seen >= self._layout.least and self._seen % self._layout.hop == 0

    def _append(self, pushed: Pushed) -> None:
        count = len(pushed.features)
        if self._end + count > len(self._features):
            kept = self._kept
            for array in (self._features, self._times, self._numbers):
                array[:kept] = array[self._end - kept : self._end].copy()
            self._end = kept
        rows = slice(self._end, self._end + count)
        self._features[rows], self._times[rows], self._numbers[rows] = pushed
        self._end, self._seen = rows.stop, self._seen + count
        self._kept = min(self._layout.span, self._kept + count)

    def _due(self, delay: int) -> Due | None:
        new = self._seen - delay - self._scored
        if new <= 0:
            return None
        self._scored += new
        first, stop = self._end - self._kept, self._kept - delay
        counted = slice(first + stop - new, first + stop)
        return Due(
            self._features[first : self._end].copy(),
            slice(stop - new, stop),
            self._times[counted].copy(),
            self._numbers[counted].copy(),
        )
