"""Events of a video: smoothing, hysteresis, merging, and the shortest length, all in seconds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyclip.config import EventsConfig
from anomalyclip.events.event import Event, Severity, Track
from anomalyclip.events.new_sums import NewSums
from anomalyclip.settings import Section

DoubleArray = NDArray[np.float64]
Spans = NDArray[np.int64]
"""(events, 2): first and last frame, inclusive."""
EXACT = 1e-6
"""Seconds by which durations are compared: frames at 12 per second do not add up to half a second exactly."""


class OperatingPoint(Section):
    """Everything that decides which events the scores of a video have."""

    detection: float
    """Score at which an event of severity `detection` starts."""
    alert: float
    """The same for `alert`; not below `detection`."""
    events: EventsConfig = EventsConfig()
    """Durations."""


def find_events(track: Track, point: OperatingPoint) -> list[Event]:
    """Return the events of a video in order of time."""
    smoothed = smooth(track.scores, track.edges, point.events.smoothing)
    spans = find_spans(smoothed, track.edges, point.detection, point.events)
    return [_event(track, smoothed, int(first), int(last), point.alert) for first, last in spans]


def smooth(scores: NDArray[np.floating[Any]], edges: DoubleArray, width: float) -> DoubleArray:
    """Return the mean score `(frames,)` of the frames whose middle is at most width / 2 seconds from each frame's.

    A width of one frame or less changes nothing.
    """
    middles = (edges[:-1] + edges[1:]) / 2
    # a thousandth of a frame more: at even rates the ends of the window fall on frames' middles
    half = width / 2 + 1e-3 * float(edges[-1] - edges[0]) / len(scores)
    low, high = np.searchsorted(middles, middles - half), np.searchsorted(middles, middles + half, "right")
    sums = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    return np.where(high - low == 1, scores, (sums[high] - sums[low]) / (high - low))


def find_spans(smoothed: DoubleArray, edges: DoubleArray, threshold: float, settings: EventsConfig) -> Spans:
    """Return the spans of events of smoothed scores `(frames,)`, in order of time."""
    starts, ends = runs(smoothed >= leaving(threshold, settings.leave))
    entered = np.concatenate([[0], np.cumsum(smoothed >= threshold)])
    spans = np.stack([starts, ends], axis=1)[entered[ends + 1] > entered[starts]]
    if len(spans) == 0:
        return spans
    apart = edges[spans[1:, 0]] - edges[spans[:-1, 1] + 1] > settings.gap + EXACT
    merged = np.stack([spans[np.append(True, apart), 0], spans[np.append(apart, True), 1]], axis=1)
    return merged[edges[merged[:, 1] + 1] - edges[merged[:, 0]] >= settings.shortest - EXACT]


def leaving(threshold: float, share: float) -> float:
    """Return the score with this share of a threshold's odds p / (1 - p)."""
    return threshold * share / (1 - threshold + threshold * share)


def runs(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last frames of the runs of true values."""
    changes = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
    return np.flatnonzero(changes == 1), np.flatnonzero(changes == -1) - 1


def _event(track: Track, smoothed: DoubleArray, first: int, last: int, alert: float) -> Event:
    within = slice(first, last + 1)
    masses = {
        name: float(track.probabilities[within, track.classes.index(name)].sum(dtype=np.float64))
        for name in track.abnormal()
    }
    label = max(masses, key=lambda name: masses[name])
    new = _new_sums(track, within)
    peak = float(smoothed[within].max())
    severity: Severity = "alert" if peak >= alert else "detection"
    start, end = float(track.edges[first]), float(track.edges[last + 1])
    return Event(
        video_id=track.video_id,
        start_frame=first,
        end_frame=last,
        start=start,
        end=end,
        clock_start=track.clock(start),
        clock_end=track.clock(end),
        label=label,
        share=masses[label] / (sum(masses.values()) or 1.0),
        peak=peak,
        mean=float(smoothed[within].mean()),
        peak_frame=first + int(smoothed[within].argmax()),
        severity=severity,
        new_label=new.label(),
        new_shares=new.shares(),
    )


def _new_sums(track: Track, within: slice) -> NewSums:
    columns = [track.classes.index(name) for name in track.abnormal()]
    scores, trained = track.scores[within], track.probabilities[within][:, columns]
    new = np.stack([column[within] for column in track.new.values()], axis=1) if track.new else scores[:, None][:, :0]
    return NewSums.of(tuple(track.new), scores, trained, new)
