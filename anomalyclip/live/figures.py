"""Figures of a watch in another process: noted there, and told to this one's metrics later."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyclip.live.metrics import Metrics

Note = tuple[str, tuple[Any, ...]]
"""A method of Metrics, and its arguments."""


class NotedMetrics(Metrics):
    """Notes what a watch tells, to be told again elsewhere; serves nothing itself."""

    def __init__(self) -> None:
        super().__init__([])
        self._notes = deque[Note]()
        self._has_turned = False

    def take_turned(self) -> bool:
        """Return whether the loop has turned since this was asked last."""
        turned, self._has_turned = self._has_turned, False
        return turned

    def take(self) -> tuple[Note, ...]:
        """Return what was noted since this was asked last; another thread may go on noting."""
        return tuple(self._notes.popleft() for _ in range(len(self._notes)))

    def turned(self) -> None:
        self._has_turned = True

    def model(self, name: str) -> None:
        self._notes.append(("model", (name,)))

    def taken(self, source: str, frames: int, dropped: int, depth: int) -> None:
        if frames or dropped:
            self._notes.append(("taken", (source, frames, dropped, depth)))

    def sees(self, source: str, sees: bool) -> None:
        self._notes.append(("sees", (source, sees)))

    def scored(self, source: str, times: NDArray[np.float64]) -> None:
        # delays are taken here: the way to the other process is none of the frames'
        self._notes.append(("scored", (source, time.time() - times)))

    def event(self, source: str, label: str, severity: str) -> None:
        self._notes.append(("event", (source, label, severity)))

    def message_lost(self) -> None:
        self._notes.append(("message_lost", ()))


def tell_again(notes: tuple[Note, ...], metrics: Metrics) -> None:
    """Tell metrics what was noted."""
    for name, arguments in notes:
        if name == "scored":
            source, delays = arguments
            arguments = source, time.time() - delays
        told: Callable[..., None] = getattr(metrics, name)
        told(*arguments)
