"""Thresholds from footage that is known to be normal: every event there is a false alarm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator
from scipy.special import gammaincinv

from anomalyclip.config import EventsConfig
from anomalyclip.errors import UsageError
from anomalyclip.events.detection import DoubleArray, OperatingPoint, find_spans, smooth
from anomalyclip.events.event import Track
from anomalyclip.runs import ALARMS
from anomalyclip.settings import Section

CONFIDENCE = 0.95
MOST_THRESHOLDS = 256
"""About as many as a table has: half of them the highest peaks."""


def rate_bound(alarms: int, hours: float) -> float:
    """Return the exact upper 95 % bound on a rate per hour, of which so many alarms were counted in these hours.

    One-sided (Garwood): at the bound, this few alarms or fewer come with a probability of 5 %. None in h hours bounds
    the rate at 3.0 / h.
    """
    return float(gammaincinv(alarms + 1, CONFIDENCE)) / hours


@dataclass(frozen=True)
class Choice:
    """A threshold, and what the normal footage says of it."""

    asked: float
    """False alarms per hour that were asked for."""
    threshold: float
    alarms: int
    hours: float

    @property
    def rate(self) -> float:
        """False alarms per hour of the normal footage."""
        return self.alarms / self.hours

    @property
    def bound(self) -> float:
        """Upper 95 % bound on the rate."""
        return rate_bound(self.alarms, self.hours)

    @property
    def is_vouched_for(self) -> bool:
        """Whether the footage is long enough to show that the rate is not above what was asked for."""
        return self.bound <= self.asked

    def sentence(self) -> str:
        """Return what the normal footage says of the threshold, in plain words."""
        found = (
            f"{self.alarms} false alarms in {self.hours:.3g} h of normal video, so at most {self.bound:.3g} per hour"
        )
        doubt = f", which cannot vouch for {self.asked:g}"
        return f"threshold {self.threshold:.4g}: {found}{'' if self.is_vouched_for else doubt}"


class AlarmTable(Section):
    """False alarms by threshold on normal videos, counted with the durations of `events`."""

    schema_version: Literal[1] = 1
    events: EventsConfig
    videos: int
    hours: float = Field(gt=0)
    held_out: bool
    """Whether the scores are those of a model that has not seen these videos in training."""
    thresholds: tuple[float, ...]
    """Falling; at the first there is no alarm, unless a score is 1."""
    alarms: tuple[int, ...]
    """Events in all videos at each threshold, or more at a higher one if events merge at a lower one."""

    @model_validator(mode="after")
    def _consistent(self) -> "AlarmTable":
        if not 0 < len(self.thresholds) == len(self.alarms):
            raise ValueError("thresholds and alarms must be of one length, at least 1")
        return self

    def choose(self, per_hour: float) -> Choice:
        """Return the lowest threshold with at most so many false alarms per hour; the highest one if none has."""
        allowed = [place for place, alarms in enumerate(self.alarms) if alarms <= per_hour * self.hours]
        place = allowed[-1] if allowed else 0
        return Choice(per_hour, self.thresholds[place], self.alarms[place], self.hours)

    def own_choice(self) -> Choice:
        """Return the choice at the model's own false alarms per hour, those of `events`."""
        return self.choose(self.events.detections_per_hour)

    def point(self, detections_per_hour: float | None = None) -> OperatingPoint:
        """Return the operating point at so many false alarms per hour, by default those of `events`."""
        events = self.events
        detections = events.detections_per_hour if detections_per_hour is None else detections_per_hour
        detection = self.choose(detections).threshold
        alert = max(detection, self.choose(min(events.alerts_per_hour, detections)).threshold)
        return OperatingPoint(detection=detection, alert=alert, events=events)


def count_alarms(tracks: Iterable[Track], settings: EventsConfig, held_out: bool) -> AlarmTable | None:
    """Return the table of normal videos; None without any."""
    smoothed = [(smooth(track.scores, track.edges, settings.smoothing), track.edges) for track in tracks]
    if not smoothed:
        return None
    thresholds = _thresholds([scores for scores, _ in smoothed])
    counts = [sum(len(find_spans(*each, threshold, settings)) for each in smoothed) for threshold in thresholds]
    end = int(np.argmax(counts)) + 1  # below, events merge until each video is one: few, but no threshold to use
    return AlarmTable(
        events=settings,
        videos=len(smoothed),
        hours=sum(float(edges[-1] - edges[0]) for _, edges in smoothed) / 3600,
        held_out=held_out,
        thresholds=tuple(thresholds[:end]),
        alarms=tuple(np.maximum.accumulate(counts[:end]).tolist()),
    )


def save_alarms(folder: Path, table: AlarmTable) -> None:
    """Write a model's table into its folder."""
    (folder / ALARMS).write_text(table.model_dump_json(indent=2))


def load_alarms(folder: Path) -> AlarmTable | None:
    """Return the table in a model's folder; None if it has none. Raises UsageError if it is damaged."""
    file = folder / ALARMS
    try:
        return AlarmTable.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UsageError(f"{file} is not a table of false alarms: {error.errors()[0]['msg']}") from None


def _thresholds(smoothed: Sequence[DoubleArray]) -> list[float]:
    """Return falling thresholds: above all scores, then local maxima, at which the counts change."""
    peaks = np.unique(np.concatenate([_local_maxima(scores) for scores in smoothed]))[::-1]
    exact = MOST_THRESHOLDS // 2
    # equal factors of the rank: the counts rise with it, and days of footage have millions of peaks
    later = np.geomspace(exact, max(exact, len(peaks)), exact).astype(np.int64) - 1
    ranks = np.union1d(np.arange(exact), later)
    above = min(1.0, float(np.nextafter(peaks[0], 2.0)))
    return [above, *peaks[ranks[ranks < len(peaks)]].tolist()]


def _local_maxima(scores: DoubleArray) -> DoubleArray:
    padded = np.concatenate([[-1.0], scores, [-1.0]])
    return scores[(scores >= padded[:-2]) & (scores >= padded[2:])]
