"""A camera that a test watches, and all that it gave."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from anomalyclip.config import LiveConfig
from anomalyclip.live.cameras.camera import TIMEOUT, Camera
from anomalyclip.live.cameras.sources import parse_sources
from anomalyclip.live.frames import SightChange
from tests.streams import number_in

PATIENCE = 40.0
"""Seconds that anything may take on a machine that is busy."""


class Watched:
    """A camera, and all that it gave."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.seen = list[int]()
        """Numbers drawn in the frames."""
        self.numbers = list[int]()
        self.times = list[float]()
        self.late = list[float]()
        """Seconds from receipt to taking."""
        self.changes = list[SightChange]()
        self.dropped = 0
        self.ended = False
        self.sizes = list[tuple[int, int]]()

    def look(self, at_most: int = 16) -> None:
        taken = self.camera.take(at_most)
        now = time.time()
        self.seen += [number_in(frame) for frame in taken.frames]
        self.numbers += taken.numbers.tolist()
        self.times += taken.times.tolist()
        self.late += (now - taken.times).tolist()
        self.sizes += [taken.frames.shape[1:3]] * len(taken.frames)
        self.changes += taken.changes
        self.dropped += taken.dropped
        self.ended = taken.ended

    def until(self, reached: Callable[[], bool], patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not reached():
            assert time.monotonic() < end, (self.camera.fault, self.seen[-3:], self.changes)
            self.look()

    def frames(self, count: int) -> None:
        """Wait for so many more frames."""
        wanted = len(self.seen) + count
        self.until(lambda: len(self.seen) >= wanted)

    @property
    def sights(self) -> list[str]:
        return [change.sight for change in self.changes]


@contextmanager
def watching(
    address: str | Path, timeout: float = TIMEOUT, max_pixels: int = 10**6, **settings: float
) -> Iterator[Watched]:
    """A camera that is started, and leaves no process."""
    (source,) = parse_sources([str(address)])
    camera = Camera(source, LiveConfig.model_validate(settings), timeout, max_pixels)
    camera.start()
    try:
        yield Watched(camera)
        process = process_of(camera)
    finally:
        camera.close()
    assert not process.is_running()


def process_of(camera: Camera) -> psutil.Process:
    assert camera._process is not None
    return psutil.Process(camera._process.pid)
