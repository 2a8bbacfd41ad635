"""Predicted events at the model's own operating point beside the true ones, video by video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.predictions import BoolArray, IntArray, Predictions
from anomalyclip.events.detection import DoubleArray, OperatingPoint, find_events, runs
from anomalyclip.events.event import Event, Track
from anomalyclip.events.matching import NONE, match_in_order, overlaps

NO_THRESHOLDS = "the model has no thresholds of events"
NO_TIMES = "the times of frames are unknown"

LEAST_IOU = 0.1
"""Temporal IoU from which a predicted event is asked for the class of a true one."""


class TrueEvent(NamedTuple):
    """A maximal run of anomalous frames."""

    first: int
    last: int
    """Frames, inclusive."""
    start: float
    end: float
    """Seconds."""
    labels: tuple[str, ...]
    """Classes of its frames, the one with the most frames first."""


@dataclass(frozen=True, eq=False)
class VideoEvents:
    """Events of a video with a known truth of frames, each list in order of time."""

    track: Track
    anomalous: BoolArray
    """`(frames,)`"""
    predicted: Sequence[Event]
    true: Sequence[TrueEvent]
    """Runs of frames with any label."""
    true_of_class: Sequence[TrueEvent]
    """Runs of frames with one label each, by start."""

    @property
    def hours(self) -> float:
        """Length of the video."""
        return self.track.seconds / 3600

    @property
    def false_alarms(self) -> int:
        """Predicted events without any true frame."""
        return sum(not self.anomalous[event.start_frame : event.end_frame + 1].any() for event in self.predicted)

    def first_alarms(self) -> list[Event | None]:
        """Return for each true event the first predicted event that overlaps it, None if there is none."""
        return [
            next((event for event in self.predicted if event.end > true.start and event.start < true.end), None)
            for true in self.true
        ]

    def delays(self) -> list[float]:
        """Return the seconds from the start of each true event that is overlapped to its first alarm."""
        alarms = zip(self.true, self.first_alarms(), strict=True)
        return [max(0.0, alarm.start - true.start) for true, alarm in alarms if alarm]

    def matches(self, least: float, of_class: bool = False) -> list[tuple[TrueEvent, Event | None]]:
        """Return each true event with the predicted one that it takes at a temporal IoU of at least `least`.

        `of_class` takes runs of each class, and for each only predicted events of that class.
        """
        true = self.true_of_class if of_class else self.true
        iou = overlaps(_spans(true), _spans(self.predicted))
        if of_class:
            agree = [event.label in each.labels for each in true for event in self.predicted]
            iou = iou * np.array(agree, np.bool_).reshape(iou.shape)
        taken = match_in_order(iou, least)
        return [(each, None if at == NONE else self.predicted[at]) for each, at in zip(true, taken, strict=True)]


@dataclass(frozen=True, eq=False)
class Counts:
    """Matched, predicted and true events of each video: (videos,) each."""

    matched: DoubleArray
    predicted: DoubleArray
    true: DoubleArray


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of all videos with a known truth of frames."""

    point: OperatingPoint
    videos: Sequence[VideoEvents]
    classes: tuple[str, ...]
    """Those that occur in the truth, then the model's others, without Normal."""
    _counts: dict[tuple[float, bool], Counts] = field(default_factory=dict)

    def counts(self, least: float, of_class: bool) -> Counts:
        """Return the counts at a temporal IoU, matched as in `VideoEvents.matches`; computed once."""
        if (least, of_class) not in self._counts:
            matched = [sum(alarm is not None for _, alarm in video.matches(least, of_class)) for video in self.videos]
            true = [len(video.true_of_class if of_class else video.true) for video in self.videos]
            predicted = [len(video.predicted) for video in self.videos]
            self._counts[least, of_class] = Counts(*(np.array(each, np.float64) for each in (matched, predicted, true)))
        return self._counts[least, of_class]

    @property
    def hours(self) -> DoubleArray:
        """Length of each video: (videos,)."""
        return np.array([video.hours for video in self.videos], np.float64)

    @property
    def false_alarms(self) -> DoubleArray:
        """False alarms in each video: (videos,)."""
        return np.array([video.false_alarms for video in self.videos], np.float64)

    @property
    def normal(self) -> BoolArray:
        """Whether a video has no anomalous frame: (videos,)."""
        return np.array([not video.true for video in self.videos], np.bool_)

    def confusion(self) -> IntArray:
        """Return how often each true class was taken for each: (classes + 1, classes + 1).

        Rows are the classes of true events, then predicted events that match none; columns are the classes of predicted
        events, then true events that are missed. A true event of several classes counts as the predicted one if that
        is one of them, else as the one with the most frames.
        """
        counts = np.zeros((len(self.classes) + 1,) * 2, dtype=np.int64)
        for video in self.videos:
            matches = video.matches(LEAST_IOU)
            for true, alarm in matches:
                row = alarm.label if alarm and alarm.label in true.labels else true.labels[0]
                counts[self.classes.index(row), self.classes.index(alarm.label) if alarm else -1] += 1
            taken = {id(alarm) for _, alarm in matches}
            for event in video.predicted:
                if id(event) not in taken:
                    counts[-1, self.classes.index(event.label)] += 1
        return counts


def why_no_events(predictions: Predictions) -> str | None:
    """Return why predictions have no events; None if they have."""
    if predictions.operating is None:
        return NO_THRESHOLDS
    if predictions.times is None or np.isnan(predictions.times[predictions.offsets[:-1]]).any():
        return NO_TIMES
    return None


def event_table(predictions: Predictions) -> EventTable | None:
    """Return the events of predictions whose frames all have a known truth; None if `why_no_events` has a reason."""
    point = predictions.operating
    if point is None or why_no_events(predictions) or not predictions.video_ids:
        return None
    tracks = ((video, predictions.track(video)) for video in range(len(predictions.video_ids)))
    videos = [_video_events(predictions, video, track, point) for video, track in tracks if track is not None]
    others = [name for name in predictions.classes if name not in (NORMAL, *predictions.label_classes)]
    return EventTable(point, videos, (*predictions.label_classes, *others))


def _video_events(predictions: Predictions, video: int, track: Track, point: OperatingPoint) -> VideoEvents:
    truth = predictions.truth[predictions.frames_of(video)]
    names, anomalous = predictions.label_classes, predictions.anomalous[predictions.frames_of(video)]
    of_class = [
        each
        for column, name in enumerate(names)
        for each in _true_events(truth[:, column], (name,), truth[:, [column]], track)
    ]
    return VideoEvents(
        track=track,
        anomalous=anomalous,
        predicted=find_events(track, point),
        true=_true_events(anomalous, names, truth, track),
        true_of_class=sorted(of_class, key=lambda event: event.start),
    )


def _true_events(flags: BoolArray, names: Sequence[str], truth: BoolArray, track: Track) -> list[TrueEvent]:
    """Return the runs of `flags` (frames,) with the names of `truth` (frames, names) that occur in them."""
    events = []
    for first, last in zip(*(each.tolist() for each in runs(flags)), strict=True):
        frames = truth[first : last + 1].sum(axis=0)
        labels = tuple(names[column] for column in np.argsort(-frames, kind="stable") if frames[column])
        events.append(TrueEvent(first, last, float(track.edges[first]), float(track.edges[last + 1]), labels))
    return events


def _spans(events: Sequence[TrueEvent] | Sequence[Event]) -> DoubleArray:
    """Return start and end of each event in seconds: (events, 2)."""
    return np.array([(event.start, event.end) for event in events], np.float64).reshape(-1, 2)
