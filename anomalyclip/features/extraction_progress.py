"""How far an extraction is, from its results as they come; it makes them visible in the index."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.part_extraction import PartDone
from anomalyclip.features.store import FeatureStore
from anomalyclip.progress import console

log = logging.getLogger("anomalyclip")

RECORD_SECONDS = 2.0
LOG_SECONDS = 4.0


@dataclass(frozen=True)
class ExtractionProgress:
    """Progress of an extraction: videos done and in all, frames of those done, and seconds.

    The time left is estimated from frames: those in the manifest (`num_frames`); for other videos from their size and
    the frames per byte of the videos done.
    """

    done: int
    total: int
    frames: int
    seconds: float
    frames_per_second: float
    seconds_left: float


class Progress:
    """Counts results, merges them into the index, and reports from time to time how far things are."""

    def __init__(
        self, store: FeatureStore, missing: pl.DataFrame, report: Callable[[ExtractionProgress], None]
    ) -> None:
        """`missing` has the columns video, size (bytes) and frames: to encode, null if not known before."""
        self.extracted = self.frames = 0
        self.nodes = Counter[str]()
        self._store = store
        self._report = report
        self._frames = dict(missing.select("video", "frames").drop_nulls().iter_rows())
        self._frames_left = sum(self._frames.values())  # of videos whose frames are known
        self._bytes_left = int(missing.filter(pl.col("frames").is_null())["size"].clip(0).sum())  # of the others
        self._total = missing.height
        self._done = self._bytes = 0
        self._begun = False
        self._sizes = dict(missing.select("video", pl.col("size").clip(0)).iter_rows())
        self._part_frames, self._part_bytes = Counter[str](), Counter[str]()
        self._new: list[ExtractionResult] = []
        self._started = self._working_since = self._recorded = self._logged = time.monotonic()

    def add(self, result: ExtractionResult, node: str) -> None:
        """Count a result that comes from a node."""
        self._start(result.seconds)
        self._new.append(result)
        self._done += 1
        size = max(0, result.size) - self._part_bytes.pop(result.video, 0)
        if result.video in self._frames:
            self._frames_left -= self._frames[result.video]
        else:
            self._bytes_left -= size
        if result.error is None:
            self.extracted += 1
            self._count(result.frames - self._part_frames.pop(result.video, 0), size, node)
        else:
            log.warning("quarantined: %s", result.error)
        self._tell()

    def add_part(self, part: PartDone, node: str) -> None:
        """Count a part of a video that comes from a node; its result comes later."""
        self._start(part.seconds)
        self._part_frames[part.video] += part.frames
        if part.video in self._frames:
            known = min(part.frames, self._frames[part.video])
            self._frames[part.video] -= known
            self._frames_left -= known
            share = 0
        else:
            share = self._sizes[part.video] * part.frames // max(1, part.total)
            self._part_bytes[part.video] += share
            self._bytes_left -= share
        if part.encoded:
            self._count(part.encoded, share, node)
        self._tell()

    def _start(self, seconds: float) -> None:
        if not self._begun:
            self._working_since = time.monotonic() - seconds
        self._begun = True

    def _count(self, frames: int, size: int, node: str) -> None:
        self.frames += frames
        self.nodes[node] += frames
        self._bytes += size

    def _tell(self) -> None:
        now = time.monotonic()
        # as it runs: after a kill, videos that the index lacks have to be hashed again to find their features
        if now - self._recorded > RECORD_SECONDS:
            self.record()
        self._report(self.state())
        is_due = now - self._logged > LOG_SECONDS and not console().is_terminal  # a bar shows it there
        if is_due or self._done == self._total:
            self._logged = now
            self._log(self.state())

    def record(self) -> None:
        """Make the results so far visible in the index."""
        if self._new:
            self._store.record(self._new)
        self._new = []
        self._recorded = time.monotonic()

    def state(self) -> ExtractionProgress:
        """Return how far things are; the rate does not count the start of the workers."""
        now = time.monotonic()
        working = max(now - self._working_since, 1e-3)
        rate, frames_per_byte = self.frames / working, self.frames / max(1, self._bytes)
        frames_left = self._frames_left + self._bytes_left * frames_per_byte
        left = frames_left / rate if rate else working * (self._total - self._done) / max(1, self._done)
        return ExtractionProgress(self._done, self._total, self.frames, now - self._started, rate, left)

    def _log(self, state: ExtractionProgress) -> None:
        log.info(
            "%d of %d videos, %d frames, %.0f frames/s, about %s left",
            state.done,
            state.total,
            state.frames,
            state.frames_per_second,
            timedelta(seconds=round(state.seconds_left)),
        )
