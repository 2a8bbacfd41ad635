"""Frames of a camera that wait to be taken, in memory that two processes share."""

import heapq
import mmap
import os
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from anomalyclip.data.frame_folder import Pixels

MOST_BYTES = 2**28
"""Of all frames that wait: 43 of 1920 x 1080 pixels."""


class Waiting(NamedTuple):
    """A frame in a slot."""

    slot: int
    number: int
    time: float


class Batch(NamedTuple):
    """Frames that were taken."""

    frames: list[Waiting]
    waiting: int
    """Frames that stay."""
    dropped: int
    """Frames that were dropped since the last batch."""
    memory: int | None
    """File descriptor of the memory of all slots, if it is new; to be closed."""
    shape: tuple[int, ...]
    """Of that memory, `(slots, height, width, 3)`."""


class FrameQueue:
    """Slots for at most `most_frames` frames; one thread puts, another takes.

    A full queue drops its oldest frame. Frames that were taken keep their slots until others are. The lowest free slot
    is used first, so that memory is touched only as far as frames have ever waited.
    """

    def __init__(self, most_frames: int, most_bytes: int = MOST_BYTES) -> None:
        self._most_frames, self._most_bytes = most_frames, most_bytes
        self._lock = threading.Lock()
        self._slots: Pixels = np.empty((0, 0, 0, 3), np.uint8)
        self._new: int | None = None
        self._free = list[int]()
        self._held = list[int]()
        self._waiting = deque[Waiting]()
        self._dropped = 0

    def put(self, pixels: Pixels, number: int, time: float) -> None:
        """Append a frame; one of another size than before takes the place of all that wait."""
        with self._lock:
            if pixels.shape != self._slots.shape[1:]:
                self._renew(pixels.shape)
            if not self._free or len(self._waiting) == len(self._slots) - 1:
                self._free.append(self._waiting.popleft().slot)
                self._dropped += 1
            slot = heapq.heappop(self._free)
            self._slots[slot] = pixels
            self._waiting.append(Waiting(slot, number, time))

    def take(self, at_most: int) -> "Batch":
        """Return the oldest frames that wait."""
        with self._lock:
            for slot in self._held:
                heapq.heappush(self._free, slot)
            taken = [self._waiting.popleft() for _ in range(max(0, min(at_most, len(self._waiting))))]
            self._held = [frame.slot for frame in taken]
            batch = Batch(taken, len(self._waiting), self._dropped, self._new, self._slots.shape)
            self._dropped, self._new = 0, None
            return batch

    def _renew(self, shape: tuple[int, ...]) -> None:
        frame_bytes = int(np.prod(shape))
        # one more than may wait: if all that wait are taken, the next frame needs a slot
        slots = max(2, min(self._most_frames + 1, self._most_bytes // frame_bytes))
        if self._new is not None:
            os.close(self._new)
        # without a name nothing is left behind, whoever is killed
        self._new = os.memfd_create("frames")
        os.truncate(self._new, slots * frame_bytes)
        memory = mmap.mmap(self._new, slots * frame_bytes)
        self._slots = np.frombuffer(memory, np.uint8).reshape((slots, *shape))
        self._dropped += len(self._waiting)
        self._waiting.clear()
        self._held = []
        self._free = list(range(slots))
