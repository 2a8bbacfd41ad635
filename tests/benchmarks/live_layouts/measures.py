"""Figures of scores over streams: AUC, AUC within streams, events, and what an operator waits for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.benchmark.footage.videos import FPS
from anomalyclip.config import EventsConfig
from anomalyclip.evaluation.event_table import TrueEvent, VideoEvents
from anomalyclip.evaluation.froc import Froc, froc
from anomalyclip.evaluation.intervals import Replicates, auc_replicates, within_video_replicates
from anomalyclip.events.detection import OperatingPoint, runs
from anomalyclip.events.event import Track, even_edges
from anomalyclip.live.event_watch import EventWatch
from anomalyclip.live.scorer import Scored
from tests.benchmarks.live_layouts.footage import Stream
from tests.benchmarks.live_layouts.windows import Taken

EVENTS = EventsConfig()
RATES = (1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Figures:
    """Of one model on one set of streams; None where undefined."""

    auc: Replicates | None
    within: Replicates | None
    recall: dict[float, Replicates | None]
    """Of true events, by false alarms per hour."""
    thresholds: dict[float, float]
    delays: list[float]
    """Seconds from a true event's start to the message of its first event, at `RATES[0]` false alarms per hour."""


def figures(streams: Sequence[Stream], taken: Sequence[Taken], classes: tuple[str, ...], online: bool) -> Figures:
    """Return the figures of streams; without `online`, messages have no time."""
    scores = np.concatenate([each.scores for each in taken])
    truth = np.concatenate([each.anomalous for each in streams])
    offsets = np.cumsum([0, *(len(each.anomalous) for each in streams)])
    curve = froc([_events(*each, classes) for each in zip(streams, taken, strict=True)], EVENTS)
    thresholds = {rate: threshold_at(curve, rate) for rate in RATES}
    point = OperatingPoint(detection=min(1.0, thresholds[RATES[0]]), alert=1.0, events=EVENTS)
    delays = [each for pair in zip(streams, taken, strict=True) for each in _delays(*pair, classes, point)]
    return Figures(
        auc_replicates(scores, truth, offsets),
        within_video_replicates(scores, truth, offsets),
        {rate: curve.recall_at(rate) for rate in RATES},
        thresholds,
        delays if online else [],
    )


def threshold_at(curve: Froc, rate: float) -> float:
    """Return the lowest threshold with at most so many false alarms per hour."""
    return float(curve.thresholds[np.flatnonzero(curve.rates() <= rate * (1 + 1e-9))[-1]])


def told(
    stream: Stream, taken: Taken, classes: tuple[str, ...], point: OperatingPoint
) -> list[tuple[float, float, float]]:
    """Return start and end of each event of a live stream, and when its first message came, in seconds."""
    watch, came, spans = EventWatch(stream.name, classes, point, 0.0), dict[str, float](), []
    frames = np.arange(len(taken.scores))
    changes = []
    for move in np.unique(taken.known):
        rows = taken.known == move
        part = Scored(frames[rows], frames[rows] / FPS, taken.scores[rows], taken.probabilities[rows])
        changes += [(change, (move - 1) / FPS) for change in watch.push(part)]
    changes += [(change, len(frames) / FPS) for change in watch.close(np.inf)]
    for change, time in changes:
        came.setdefault(change.id, time)
        if change.kind == "end":
            spans.append((change.after.start, change.after.end, came[change.id]))
    return spans


def _delays(stream: Stream, taken: Taken, classes: tuple[str, ...], point: OperatingPoint) -> list[float]:
    found = told(stream, taken, classes, point)
    delays = []
    for first, last in zip(*runs(stream.anomalous), strict=True):
        start, end = first / FPS, (last + 1) / FPS
        times = [came for begin, stop, came in found if begin < end and stop > start]
        delays += [max(0.0, times[0] - start)] if times else []
    return delays


def _events(stream: Stream, taken: Taken, classes: tuple[str, ...]) -> VideoEvents:
    edges = even_edges(len(taken.scores), FPS)
    true = [
        TrueEvent(first, last, float(edges[first]), float(edges[last + 1]), (stream.label,))
        for first, last in zip(*(each.tolist() for each in runs(stream.anomalous)), strict=True)
    ]
    track = Track(stream.name, classes, taken.scores, taken.probabilities, edges)
    return VideoEvents(track, stream.anomalous, [], true, true)
