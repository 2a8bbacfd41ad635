"""An event, the table of events, and the scores of a video that events are found in."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.data.labels import NORMAL

Severity = Literal["alert", "detection"]
"""Above the alert's threshold, or above the lower one of detections only."""

EVENTS = pl.Schema(
    {
        "video_id": pl.String(),
        "start_frame": pl.Int64(),
        "end_frame": pl.Int64(),
        "start": pl.Float64(),
        "end": pl.Float64(),
        "clock_start": pl.String(),
        "clock_end": pl.String(),
        "label": pl.String(),
        "share": pl.Float64(),
        "peak": pl.Float64(),
        "mean": pl.Float64(),
        "peak_frame": pl.Int64(),
        "severity": pl.String(),
    }
)
"""Columns of a table of events; the fields of `Event`."""


@dataclass(frozen=True)
class Event:
    """Something that happens in a video."""

    video_id: str
    start_frame: int
    end_frame: int
    """Frames are 0-based; the last one is inclusive."""
    start: float
    end: float
    """Seconds from the start of the video; the end is that of the last frame."""
    clock_start: str | None
    clock_end: str | None
    """The same as time of day (ISO 8601); None if the start of the video is unknown."""
    label: str
    """The class with the largest share; never Normal."""
    share: float
    """Its share of the probability of all abnormal classes, summed over the event."""
    peak: float
    mean: float
    """Highest and mean smoothed score."""
    peak_frame: int
    severity: Severity


@dataclass(frozen=True, eq=False)
class Track:
    """Scores of a video over time.

    `scores` (frames,) are the anomaly probabilities, `probabilities` (frames, classes) those of `classes`, Normal among
    them. `edges` (frames + 1,) are the seconds at which each frame starts, and the end of the last one.
    """

    video_id: str
    classes: tuple[str, ...]
    scores: NDArray[np.floating[Any]]
    probabilities: NDArray[np.floating[Any]]
    edges: NDArray[np.float64]
    started: datetime | None = None
    """Time of day of the first frame."""

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return float(self.edges[-1] - self.edges[0])

    def abnormal(self) -> tuple[str, ...]:
        """The classes but Normal, in order."""
        return tuple(name for name in self.classes if name != NORMAL)

    def clock(self, seconds: float) -> str | None:
        """Return the time of day at these seconds of the video."""
        if self.started is None:
            return None
        return (self.started + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def even_edges(frames: int, fps: float) -> NDArray[np.float64]:
    """Return the edges `(frames + 1,)` of frames that all last equally long."""
    return np.arange(frames + 1) / fps


def frame_edges(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges `(frames + 1,)` of frames that start at `times` (seconds); the last lasts as long as most do."""
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return np.append(times, times[-1] + usual)


def events_table(events: Iterable[Event]) -> pl.DataFrame:
    """Return events as a table EVENTS."""
    return pl.DataFrame([asdict(event) for event in events], schema=EVENTS)


def events_of(table: pl.DataFrame) -> list[Event]:
    """Return the events of a table EVENTS."""
    return [Event(**row) for row in table.select(*EVENTS).iter_rows(named=True)]
