"""An event, the table of events, and the scores of a video that events are found in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
"""Columns of a table of events; the fields of `Event` but those of new classes."""
NEW_CLASSES = ("new_label", "new_shares")
"""Fields of an event that its table has only where new classes were asked for."""


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
    new_label: str | None = None
    """The new class, asked for by its name, with the largest share, if it fits better than every trained class."""
    new_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of each new class against the trained ones, by its name, in the probability that something happens."""

    def fields(self) -> dict[str, Any]:
        """Return the fields by name, as they are told: those of new classes only if any were asked for."""
        fields = asdict(self)
        return fields if self.new_shares else {name: fields[name] for name in fields if name not in NEW_CLASSES}


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
    new: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    """Probabilities `(frames,)` of new classes by their names; each competes with the trained ones alone."""

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


def events_table(events: Iterable[Event], new_classes: Sequence[str] = ()) -> pl.DataFrame:
    """Return events as a table EVENTS; if new classes were asked for, with their columns at the end (`NEW_CLASSES`)."""
    of_new = [pl.String(), pl.Struct({name: pl.Float64() for name in new_classes})]
    schema = {**EVENTS, **(dict(zip(NEW_CLASSES, of_new, strict=True)) if new_classes else {})}
    return pl.DataFrame([asdict(event) for event in events], schema=schema)


def events_of(table: pl.DataFrame) -> list[Event]:
    """Return the events of a table EVENTS."""
    return [Event(**row) for row in table.select(*EVENTS).iter_rows(named=True)]
