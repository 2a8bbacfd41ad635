"""The declared figures of a predictions table, computed from that table alone, on frames and on whole videos."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.declarations import Estimate, Figure, Level, Table
from anomalyclip.evaluation.event_figures import event_froc, found_events
from anomalyclip.evaluation.event_table import EventTable, why_no_events
from anomalyclip.evaluation.figures import CLASS_FIGURES, FIGURES, headlines, summarised
from anomalyclip.evaluation.froc import Froc
from anomalyclip.evaluation.intervals import Interval
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.text import UNDEFINED, value_text
from anomalyclip.features.spacing import first_frames

NO_INTERVALS = "no test video has frame intervals"
"""Why figures of frames are undefined where anomalies are known by video only."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """All declared figures of one predictions table; None if a figure is undefined."""

    figures: Mapping[str, Estimate | None]
    """By the name of the figure."""
    of_class: Mapping[str, Mapping[str, Estimate | None]]
    """By the name of the class figure, then by class: those of the model, then those that only the truth knows."""
    absent_classes: tuple[str, ...]
    """Abnormal classes of the model that do not occur in the truth: undefined, and not in the means."""
    unknown_classes: tuple[str, ...]
    """Classes of the truth that the model does not know: undefined, and not in the means."""
    unlocated_classes: tuple[str, ...]
    """Classes of the model that occur only in videos without frame intervals: undefined in the figures of frames."""
    videos: int
    frames: int
    located: int
    """Videos with labels and frame intervals."""
    unlocated: int
    """Videos with labels but without frame intervals: they count in the figures of videos only."""
    events: EventTable | None
    """Events of the videos with a known truth of frames, for plots; None if `no_events` has a reason."""
    froc: Froc | None
    no_events: str | None
    """Why the figures of events are undefined."""

    def value(self, name: str) -> float | None:
        """The value of a figure."""
        estimate = self.figures[name]
        return None if estimate is None else estimate.value

    def interval(self, name: str) -> Interval | None:
        """The 95 % interval of a figure."""
        estimate = self.figures[name]
        return None if estimate is None else estimate.interval

    def headline(self) -> dict[str, float]:
        """The defined main figures of the model, by name."""
        found = {figure.name: self.value(figure.name) for figure in headlines()}
        return {name: value for name, value in found.items() if value is not None}

    def flat(self) -> dict[str, float]:
        """The defined figures under the names that they have in a tracking server, such as `auc/Abuse`."""
        flat: dict[str, float] = {}
        for name, estimate in self.figures.items():
            if estimate is not None:
                flat[name] = estimate.value
                if estimate.interval is not None:
                    flat |= {f"{name}_low": estimate.interval.low, f"{name}_high": estimate.interval.high}
        for kind, of_class in self.of_class.items():
            keys = _metric_keys(list(of_class))
            flat |= {f"{kind}/{keys[name]}": found.value for name, found in of_class.items() if found is not None}
        return flat

    def text(self, figure: Figure) -> str:
        """A figure with its interval, or why it is undefined."""
        if self.figures[figure.name] is None:
            if figure.level != "video" and self.unlocated and not self.located:
                return f"{UNDEFINED}: {NO_INTERVALS}"
            if figure.level == "event" and self.no_events:
                return f"{UNDEFINED}: {self.no_events}"
        return value_text(self.value(figure.name), self.interval(figure.name))


def compute_metrics(predictions: Predictions) -> Metrics:
    """All declared figures of a predictions table, with their intervals."""
    tables = tables_of(predictions)
    unknown = tuple(name for name in predictions.label_classes if name not in predictions.classes)
    names = predictions.classes + unknown
    return Metrics(
        figures={name: figure.compute(tables[figure.level]) for name, figure in FIGURES.items()},
        of_class={
            kind: {name: tables[figure.level].of_class(figure).get(name) for name in names}
            for kind, figure in CLASS_FIGURES.items()
        },
        absent_classes=tuple(name for name in predictions.classes if name not in (NORMAL, *predictions.label_classes)),
        unknown_classes=unknown,
        unlocated_classes=tuple(
            name for name in predictions.label_classes if name not in unknown and not predictions.truth_of(name).any()
        ),
        videos=len(predictions.video_ids),
        frames=len(predictions.scores),
        located=int((predictions.known & predictions.video_truth.any(axis=1)).sum()),
        unlocated=int((~predictions.known).sum()),
        events=tables["event"].once(found_events),
        froc=tables["event"].once(event_froc),
        no_events=why_no_events(tables["event"].predictions),
    )


def summary_values(metrics: Metrics | None) -> dict[str, float | None]:
    """The figures of the summary, by name, for a job's result; all None without metrics."""
    return {figure.name: None if metrics is None else metrics.value(figure.name) for figure in summarised()}


def tables_of(predictions: Predictions) -> dict[Level, Table]:
    """The tables that the figures of frames, of events and of videos are computed from."""
    frames = Table(frame_level(predictions))
    return {"frame": frames, "event": frames, "video": Table(video_level(predictions))}


def frame_level(predictions: Predictions) -> Predictions:
    """The videos whose frames have a known truth."""
    return predictions if predictions.known.all() else predictions.select(np.flatnonzero(predictions.known))


def video_level(predictions: Predictions) -> Predictions:
    """A table with one row per video instead of its frames: its video-level scores, and its labels as truth.

    The score of an abnormal class is the `video_score` of its probability. A video is as normal as its least normal
    segments: the score of Normal is 1 minus the `video_score` of 1 - p_Normal.
    """
    videos = [predictions.frames_of(video) for video in range(len(predictions.video_ids))]
    sizes = [predictions.segment_length(video) for video in range(len(videos))]
    normal = predictions.classes.index(NORMAL)
    probabilities = np.array([
        [
            1 - video_score(1 - column, size) if number == normal else video_score(column, size)
            for number, column in enumerate(predictions.probabilities[frames].T)
        ]
        for frames, size in zip(videos, sizes, strict=True)
    ])  # fmt: skip
    return replace(
        predictions,
        offsets=np.arange(len(videos) + 1),
        scores=np.array([video_score(predictions.scores[f], size) for f, size in zip(videos, sizes, strict=True)]),
        probabilities=probabilities,
        truth=predictions.video_truth,
        known=np.ones(len(videos), dtype=np.bool_),
        times=None,
    )


def video_score(scores: npt.NDArray[np.floating], segment_frames: int | Fraction, top: int = 3) -> float:
    """One score for a video: the mean of its `top` highest segment scores.

    `scores` is (frames,); a segment's score is the mean over its `segment_frames` consecutive frames, the last one's
    over the remaining ones; of a fraction, segment k starts at floor(k `segment_frames`). A video of fewer segments
    takes all it has. Raises ValueError without frames.
    """
    if len(scores) == 0:
        raise ValueError("a video without frames has no score")
    starts = np.unique(first_frames(0, int(-(-len(scores) // segment_frames)), segment_frames))
    sizes = np.diff(np.append(starts, len(scores)))
    segments = np.add.reduceat(scores, starts, dtype=np.float64) / sizes
    return float(np.sort(segments)[-top:].mean())


def _metric_keys(names: Sequence[str]) -> dict[str, str]:
    """A distinct metric name for every class, of the characters that tracking servers accept."""
    keys: dict[str, str] = {}
    for name in names:
        key = base = re.sub(r"[^A-Za-z0-9_\-. ]|^\.+$", "_", name)
        number = 1
        while key in keys.values():
            number += 1
            key = f"{base}_{number}"
        keys[name] = key
    return keys
