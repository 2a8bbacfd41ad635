"""Moving mean over the scores of frames while they come: `events.detection.smooth` of a stream."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyclip.events.new_sums import NewSums

RECENT = 255
"""Frames whose usual length is that of the last one."""


@dataclass(slots=True)
class Frame:
    """A frame with a score."""

    number: int
    start: float
    """Seconds."""
    score: float
    masses: NDArray[np.float64]
    """Probabilities of the abnormal classes: (classes,)."""
    new: NewSums
    """Of classes that nobody trained."""
    end: float = 0.0
    last_number: int = 0
    """The frame stands for all numbers up to this one."""
    smoothed: float = 0.0

    @property
    def middle(self) -> float:
        """Seconds."""
        return (self.start + self.end) / 2


class MovingMean:
    """Gives frames back with the mean score of those whose middle is at most width / 2 seconds from theirs.

    A frame lasts until the next one starts. Only as many are kept as the mean needs.
    """

    def __init__(self, width: float) -> None:
        self._width = width
        self._frames: deque[Frame] = deque()
        """Complete ones, in order of time; the first `_given` were given back."""
        self._given = 0
        self._newest: Frame | None = None
        """Its end is unknown."""
        self._count, self._seconds = 0, 0.0
        self._lengths, self._steps = deque[float](maxlen=RECENT), deque[int](maxlen=RECENT)

    def push(self, frame: Frame) -> Iterator[Frame]:
        """Add the next frame, no earlier than the one before; yields those whose mean is certain by now."""
        if (newest := self._newest) is not None:
            self._lengths.append(frame.start - newest.start)
            self._steps.append(frame.number - newest.number)
            self._complete(newest, frame.start, frame.number - 1)
        self._newest = frame
        yield from self._certain()

    def finish(self, time: float) -> Iterator[Frame]:
        """Yield the frames that are left; the last one lasts as long as most did, but not beyond `time` (seconds)."""
        if (newest := self._newest) is not None:
            usual = float(np.median(self._lengths)) if self._lengths else 1.0
            step = min(self._steps, default=1)
            self._complete(newest, max(newest.start, min(time, newest.start + usual)), newest.number + step - 1)
            self._newest = None
        while self._given < len(self._frames):
            yield self._next()

    def _complete(self, frame: Frame, end: float, last_number: int) -> None:
        frame.end, frame.last_number = end, last_number
        self._frames.append(frame)
        self._count, self._seconds = self._count + 1, self._seconds + end - frame.start

    def _certain(self) -> Iterator[Frame]:
        while self._given < len(self._frames):
            if self._frames[-1].middle <= self._frames[self._given].middle + self._half():
                return
            yield self._next()

    def _half(self) -> float:
        # a thousandth of a frame more: at even rates the ends of the window fall on frames' middles
        return self._width / 2 + 1e-3 * self._seconds / self._count

    def _next(self) -> Frame:
        frame, half = self._frames[self._given], self._half()
        while self._frames[0].middle < frame.middle - half:
            self._frames.popleft()
            self._given -= 1
        inside = [each.score for each in self._frames if each.middle <= frame.middle + half]
        frame.smoothed = inside[0] if len(inside) == 1 else sum(inside) / len(inside)
        self._given += 1
        return frame
