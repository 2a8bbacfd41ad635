"""How well a model recognises classes that nobody trained, by their names: figures of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalyclip.data.labels import NORMAL
from anomalyclip.data.new_names import text_of
from anomalyclip.evaluation.declarations import Estimate, jackknifed
from anomalyclip.evaluation.intervals import Replicates, auc_replicates, ratio_replicates
from anomalyclip.evaluation.metrics import frame_level
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, Predictions
from anomalyclip.evaluation.text import UNDEFINED, interval_values, value_text

POOLED = 16
"""The mean over the highest 1 / 16 of a video's frames, and one more, stands for the video, whatever its truth."""
IGNORED = 0.5
"""Of the figure `answer`: a model that ignores which name is asked for."""
FIGURES = {
    "auc": "AUC",
    "answer": "AUC among anomalies",
    "top1": "named so in its videos",
    "elsewhere": "named so in other anomalous videos",
    "share": "share in its anomalies",
    "share_elsewhere": "share in other anomalies",
}
"""Titles by name; each is an attribute of `NewClassFigures`."""


@dataclass(frozen=True)
class NewClassFigures:
    """Figures of one new class on test videos; None where undefined, as most are if it does not occur."""

    name: str
    auc: Estimate | None
    """Of its frames against all others, by its probability."""
    answer: Estimate | None
    """Of its frames against those of other anomalies, by its share of p_A: 0.5 if the model ignores the name."""
    top1: Estimate | None
    """Share of its videos in which it beats every trained class."""
    elsewhere: Estimate | None
    """The same of the other anomalous videos: false names."""
    share: Estimate | None
    """Mean share of p_A in its anomalous frames, in competition with the trained classes."""
    share_elsewhere: Estimate | None
    """The same in other anomalous frames: it should stay low."""

    @property
    def is_ignored(self) -> bool:
        """Whether the interval of `answer` holds what a model reaches that ignores the name."""
        found = self.answer
        return found is not None and (found.interval.low if found.interval else found.value) <= IGNORED

    def texts(self) -> list[str]:
        """Return the figures with their intervals, in the order of `FIGURES`."""
        found: list[Estimate | None] = [getattr(self, each) for each in FIGURES]
        return [value_text(each.value, each.interval) if each else UNDEFINED for each in found]

    def values(self) -> dict[str, Any]:
        """Return the figures as JSON-like values: each with the two ends of its interval."""
        return {each: estimate_values(getattr(self, each)) for each in FIGURES}


def estimate_values(estimate: Estimate | None) -> dict[str, float | None] | None:
    """Return a figure and the two ends of its interval under their names in JSON; None if it is undefined."""
    return None if estimate is None else {"value": estimate.value, **interval_values(estimate.interval)}


def new_class_figures(predictions: Predictions, new: Mapping[str, FloatArray]) -> list[NewClassFigures]:
    """Return the figures of each new class, in their order, on the frames with a known truth.

    `new` are the probabilities `(frames,)` of all frames of the table, by name. A name is that of a class of the truth
    if both are the same text.
    """
    known = np.repeat(predictions.known, np.diff(predictions.offsets))
    located = frame_level(predictions)
    return [_figures(located, name, np.asarray(column, np.float64)[known]) for name, column in new.items()]


def _figures(p: Predictions, name: str, column: FloatArray) -> NewClassFigures:
    label = next((each for each in p.label_classes if text_of(each) == text_of(name)), None)
    truth = p.truth_of(label) if label else np.zeros(len(column), dtype=np.bool_)
    share = np.clip(column / np.maximum(p.scores, np.finfo(np.float32).tiny), 0, 1)
    own, named = truth & p.anomalous, _named(p, share)
    of_videos = np.array([truth[p.frames_of(video)].any() for video in range(len(p.video_ids))])
    others = np.array([p.anomalous[p.frames_of(video)].any() for video in range(len(p.video_ids))]) & ~of_videos
    return NewClassFigures(
        name=name,
        auc=jackknifed(auc_replicates(column, truth, p.offsets)),
        answer=jackknifed(_among_anomalies(p, share, truth)),
        top1=jackknifed(_share_of(named, of_videos)),
        elsewhere=jackknifed(_share_of(named, others)),
        share=jackknifed(_mean_share(p, share, own)),
        share_elsewhere=jackknifed(_mean_share(p, share, p.anomalous & ~truth)),
    )


def _among_anomalies(p: Predictions, share: FloatArray, truth: BoolArray) -> Replicates | None:
    """Return the AUC of a class's frames against those of other anomalies: normal frames are left out."""
    counts = np.add.reduceat(p.anomalous, p.offsets[:-1], dtype=np.int64)
    kept = counts[counts > 0]
    if not len(kept):
        return None
    offsets = np.concatenate([[0], np.cumsum(kept)])
    return auc_replicates(share[p.anomalous], truth[p.anomalous], offsets)


def _named(p: Predictions, share: FloatArray) -> BoolArray:
    """Return in which videos `(videos,)` the new class beats every trained one.

    A class of a video is the mean of its highest probabilities, always over the same part of the frames.
    """
    trained = p.probabilities[:, [number for number, name in enumerate(p.classes) if name != NORMAL]]
    joint = np.column_stack([trained * (1 - share)[:, None], p.scores * share])
    wins = []
    for video in range(len(p.video_ids)):
        wins.append(int(pooled(joint[p.frames_of(video)]).argmax()) == joint.shape[1] - 1)
    return np.array(wins)


def pooled(frames: FloatArray) -> FloatArray:
    """Return what stands for a video `(classes,)`: the mean of each column's highest values, of `(frames, classes)`."""
    highest: FloatArray = np.sort(frames, axis=0)[-(len(frames) // POOLED + 1) :]
    return highest.mean(axis=0)


def _share_of(named: BoolArray, videos: BoolArray) -> Replicates | None:
    return ratio_replicates((named & videos).astype(np.float64), videos.astype(np.float64))


def _mean_share(p: Predictions, share: FloatArray, frames: BoolArray) -> Replicates | None:
    starts = p.offsets[:-1]
    return ratio_replicates(
        np.add.reduceat(np.where(frames, share, 0.0), starts, dtype=np.float64),
        np.add.reduceat(frames, starts, dtype=np.float64),
    )
