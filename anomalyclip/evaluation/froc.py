"""FROC: recall of true events against false alarms per hour, as the threshold of events falls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.config import EventsConfig
from anomalyclip.evaluation.event_table import VideoEvents
from anomalyclip.evaluation.intervals import Replicates, ratio_replicates
from anomalyclip.evaluation.predictions import IntArray
from anomalyclip.events.detection import DoubleArray, find_spans, runs, smooth

MOST_RATE = 100.0
"""False alarms per hour at which the curve ends."""
BLOCK = 10.0
"""Seconds per peak: of those, the thresholds are taken."""
EXACT = 1e-9
"""Of a rate: hours are sums of fractions."""
EXACT_RANKS, OTHER_RANKS = 100, 100
"""Thresholds at the highest peaks, and at later ones at equal factors of their rank."""


@dataclass(frozen=True, eq=False)
class Froc:
    """What is found in each video at falling thresholds; at the first, above all scores, nothing is."""

    thresholds: DoubleArray
    """`(thresholds,)`"""
    alarms: IntArray
    """Predicted events without any true frame: (thresholds, videos)."""
    found: IntArray
    """True events that a predicted one overlaps: (thresholds, videos)."""
    true: DoubleArray
    """True events: (videos,)."""
    hours: DoubleArray
    """Length of each video: (videos,)."""

    def rates(self) -> DoubleArray:
        """Return the false alarms per hour of all videos `(thresholds,)`, or those of a higher threshold if more.

        Events merge at lower thresholds: one that fills the whole video would else be free.
        """
        return np.asarray(np.maximum.accumulate(self.alarms.sum(axis=1)) / self.hours.sum(), np.float64)

    def recalls(self) -> DoubleArray:
        """Return the share of true events that are found: (thresholds,)."""
        return np.asarray(self.found.sum(axis=1) / self.true.sum(), np.float64)

    def recall_at(self, per_hour: float) -> Replicates | None:
        """Return the recall at the lowest threshold with at most so many false alarms per hour; None without events.

        Its leave-one-out values are at that same threshold.
        """
        place = int(np.flatnonzero(self.rates() <= per_hour * (1 + EXACT))[-1])
        return ratio_replicates(self.found[place].astype(np.float64), self.true)


def froc(videos: Sequence[VideoEvents], settings: EventsConfig) -> Froc:
    """Return the curve of videos with times and a known truth, at the durations of `settings`."""
    joined = _joined(videos, settings)
    alarms, found, limit = [], [], MOST_RATE * sum(video.hours for video in videos)
    thresholds = _thresholds(joined)
    for threshold in thresholds:
        spans = find_spans(joined.scores, joined.edges, threshold, settings)
        alarms.append(joined.false_alarms(spans))
        found.append(joined.found(spans))
        if alarms[-1].sum() > limit:
            break
    return Froc(
        thresholds=thresholds[: len(alarms)],
        alarms=np.stack(alarms),
        found=np.stack(found),
        true=np.array([len(video.true) for video in videos], np.float64),
        hours=np.array([video.hours for video in videos], np.float64),
    )


@dataclass(frozen=True, eq=False)
class _Joined:
    """Videos one after the other as one track, so that a threshold costs one pass: between two there is a frame with
    score -1, longer than the gap over which events merge."""

    scores: DoubleArray
    """Smoothed: (frames,)."""
    edges: DoubleArray
    offsets: IntArray
    """First frame of each video: (videos,)."""
    anomalous_before: IntArray
    """Anomalous frames before each: (frames + 1,)."""
    true: IntArray
    """First and last frame of each true event: (events, 2)."""

    def false_alarms(self, spans: IntArray) -> IntArray:
        """Return the spans without any true frame in each video: (videos,)."""
        before = self.anomalous_before
        return self._by_video(spans[before[spans[:, 1] + 1] == before[spans[:, 0]], 0])

    def found(self, spans: IntArray) -> IntArray:
        """Return the true events in each video that a span overlaps: (videos,)."""
        first_after = np.searchsorted(spans[:, 1], self.true[:, 0])
        starts = np.append(spans[:, 0], len(self.scores))[first_after]
        return self._by_video(self.true[starts <= self.true[:, 1], 0])

    def _by_video(self, frames: IntArray) -> IntArray:
        videos = np.searchsorted(self.offsets, frames, side="right") - 1
        return np.bincount(videos, minlength=len(self.offsets))


def _joined(videos: Sequence[VideoEvents], settings: EventsConfig) -> _Joined:
    scores, starts, anomalous, end = [], [], [], 0.0
    for video in videos:
        edges = video.track.edges
        smoothed = smooth(video.track.scores, edges, settings.smoothing)
        scores.append(np.append(smoothed, -1.0))
        starts.append(edges - edges[0] + end)
        anomalous.append(np.append(video.anomalous, False))
        end = float(starts[-1][-1]) + settings.gap + 1.0
    flags = np.concatenate(anomalous)
    return _Joined(
        scores=np.concatenate(scores),
        edges=np.append(np.concatenate(starts), end),
        offsets=np.cumsum([0, *(len(each) for each in scores[:-1])]),
        anomalous_before=np.concatenate([[0], np.cumsum(flags)]),
        true=np.stack(runs(flags), axis=1),
    )


def _thresholds(joined: _Joined) -> DoubleArray:
    """Return falling thresholds: above all scores, then peaks of true events and of stretches of normal video.

    Alarms are as good as one per peak, so the ranks of peaks are nearly the numbers of alarms.
    """
    changes = np.flatnonzero(np.diff(joined.anomalous_before, n=2)) + 1
    ticks = np.searchsorted(joined.edges[:-1], np.arange(0.0, joined.edges[-2], BLOCK))
    starts = np.unique(np.concatenate([joined.offsets, changes, ticks]))
    peaks = np.unique(np.maximum.reduceat(joined.scores, starts))[::-1]
    peaks = peaks[peaks >= 0]
    later = np.geomspace(EXACT_RANKS, max(EXACT_RANKS, len(peaks)), OTHER_RANKS).astype(np.int64) - 1
    ranks = np.union1d(np.arange(EXACT_RANKS), later)
    return np.append(np.nextafter(peaks[0], 2.0), peaks[ranks[ranks < len(peaks)]])
