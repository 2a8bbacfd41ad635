"""Two models held against each other on the same videos, from their predictions tables alone.

Differences are paired: what one video does to both figures cancels (DESIGN.md, decision 9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.intervals import (
    Difference,
    DoubleArray,
    Replicates,
    auc_replicates,
    average_precision_replicates,
    class_replicates,
    concordant_frames,
    difference,
    mean_replicates,
    reordered,
    same_videos,
)
from anomalyclip.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of one predictions table with their leave-one-video-out values; None where undefined."""

    predictions: Predictions
    auc: Replicates | None
    ap: Replicates | None
    m_auc: Replicates | None
    of_class: Mapping[str, Replicates]
    """AUC of each class of the model against the rest, for the classes that occur."""
    ranked: DoubleArray
    """(videos,): the share of pairs of an anomalous and a normal frame, one of them the video's, in right order."""
    weights: DoubleArray
    """(videos,): the part of AUC that a video's pairs make up; a pair of two videos counts half for each."""


@dataclass(frozen=True)
class VideoDifference:
    """What one video does to the difference in AUC."""

    video_id: str
    labels: tuple[str, ...]
    """Classes that occur in it; none: Normal."""
    frames: int
    first: float
    """Share of pairs with its frames that the first model ranks rightly: 0.5 is chance."""
    second: float
    contribution: float
    """To the first's AUC minus the second's; those of all videos sum to it."""


@dataclass(frozen=True)
class Comparison:
    """The first model's figures minus the second's, with paired 95 % intervals; None where one is undefined.

    mAUC compares only where both models know the same of the classes that occur.
    """

    auc: Difference | None
    ap: Difference | None
    m_auc: Difference | None
    of_class: Mapping[str, Difference]
    """AUC against the rest of the classes that both know, Normal among them."""
    videos: Sequence[VideoDifference]
    """All videos, those that contribute most, to either side, first; none where AUC is undefined."""


def measure(predictions: Predictions) -> Measured:
    """Return the figures of a predictions table that compare."""
    scores, anomalous, offsets = predictions.scores, predictions.anomalous, predictions.offsets
    of_class = class_replicates(predictions)
    ranked, weights = _ranked(predictions)
    return Measured(
        predictions=predictions,
        auc=auc_replicates(scores, anomalous, offsets),
        ap=average_precision_replicates(scores, anomalous, offsets),
        m_auc=mean_replicates(of_class),
        of_class=of_class,
        ranked=ranked,
        weights=weights,
    )


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Return the first model's figures minus the second's; raises UsageError as `check_comparable` does."""
    check_comparable(first, second)
    return compare_measured(measure(first), measure(second))


def compare_measured(first: Measured, second: Measured) -> Comparison:
    """Return the same of two tables that are known to be comparable."""
    order = same_videos(first.predictions, second.predictions)
    other = {name: reordered(replicates, order) for name, replicates in second.of_class.items()}
    shared = [name for name in first.of_class if name in other]
    differences = {name: difference(first.of_class[name], other[name]) for name in shared}
    return Comparison(
        auc=difference(first.auc, reordered(second.auc, order)),
        ap=difference(first.ap, reordered(second.ap, order)),
        m_auc=difference(first.m_auc, reordered(second.m_auc, order)) if set(other) == set(first.of_class) else None,
        of_class={name: found for name, found in differences.items() if found is not None},
        videos=_videos(first, second, order),
    )


def check_comparable(first: Predictions, second: Predictions) -> None:
    """Raise UsageError that says what differs unless two models saw the same videos with the same annotations."""
    same_videos(first, second)
    digests = first.digests.annotations, second.digests.annotations
    if digests[0] != digests[1]:
        raise UsageError(
            f"models compare only on the same annotations: the digests of these are {digests[0][:12]} and "
            f"{digests[1][:12]}, though every frame has the same labels; evaluate both on one manifest"
        )


def _ranked(predictions: Predictions) -> tuple[DoubleArray, DoubleArray]:
    """The share of each video's pairs in right order, and what part of AUC they make up: (videos,) both."""
    starts, positive = predictions.offsets[:-1], predictions.anomalous
    positives = np.add.reduceat(positive, starts, dtype=np.float64)
    negatives = np.diff(predictions.offsets) - positives
    pairs = positives * negatives.sum() + negatives * positives.sum()
    right = np.add.reduceat(concordant_frames(predictions.scores, positive), starts)
    with np.errstate(invalid="ignore"):  # without anomalous or without normal frames there are no pairs
        return right / pairs, pairs / pairs.sum()


def _videos(first: Measured, second: Measured, order: Sequence[int]) -> list[VideoDifference]:
    if first.auc is None:
        return []
    table, theirs = first.predictions, second.ranked[order]
    contributions = first.weights * (first.ranked - theirs)
    return [
        VideoDifference(
            video_id=table.video_ids[video],
            labels=table.labels_of(video),
            frames=int(table.offsets[video + 1] - table.offsets[video]),
            first=float(first.ranked[video]),
            second=float(theirs[video]),
            contribution=float(contributions[video]),
        )
        for video in np.argsort(-np.abs(contributions), kind="stable").tolist()
    ]
