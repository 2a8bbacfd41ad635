"""Scored videos as the report takes them, made in memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from anomalyclip.events.event import Event, Track, even_edges
from anomalyclip.report.page import ReportModel, ReportVideo

CLASSES = ("Fighting", "Normal", "Arson")
FPS = 10


def track(video: str, scores: Sequence[float], classes: Sequence[str] = CLASSES, fps: float = FPS) -> Track:
    """Scores of a video, with all probability of an anomaly in the first class."""
    probabilities = np.zeros((len(scores), len(classes)))
    probabilities[:, 0] = scores
    probabilities[:, classes.index("Normal")] = 1 - np.asarray(scores)
    return Track(video, tuple(classes), np.asarray(scores), probabilities, even_edges(len(scores), fps))


def event(video: str, start: int, end: int, label: str, peak: float = 0.9, severity: str = "alert") -> Event:
    """An event from frame `start` to frame `end`, which is its peak too."""
    times = (start / FPS, (end + 1) / FPS)
    return Event(video, start, end, *times, None, None, label, 0.8, peak, peak / 2, end, severity)


def scored(
    video: str,
    events: Sequence[Event] = (),
    scores: Sequence[float] = (0.1, 0.9, 0.2),
    address: str | None = None,
    truth: Sequence[tuple[float, float, str]] | None = None,
    frames: Mapping[int, bytes] | None = None,
) -> ReportVideo:
    """A video of the report; its source is `/videos/NAME`."""
    return ReportVideo(track(video, scores), events, address, f"/videos/{video}", truth, frames or {})


def model(name: str = "yard version 2", created: str = "2026-11-26 01:00", note: str = "") -> ReportModel:
    """A model with thresholds of 0.5 and 0.8."""
    return ReportModel(name, 0.5, 0.8, CLASSES, note, created)
