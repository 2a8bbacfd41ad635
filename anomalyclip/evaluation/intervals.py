"""95 % intervals of AUC and mAUC from a delete-one-video jackknife.

Frames of one video resemble each other, so the video is the unit that is drawn. Frame-level AUC is a ratio
of two sums over pairs of videos: concordant pairs of frames (a tie counts ½) over all pairs of an anomalous
and another frame. Leaving a video out takes its row and its column from the matrix of pair counts, so the
sums of rows and columns and the diagonal give every leave-one-out value exactly, after a single sort.

Simulated coverage at UCF-Crime's size is 94 % (AUC) and 96 % (mAUC). With few anomalous videos it holds only
with a t quantile whose degrees of freedom count those videos, not all: 94 % against 88 % at 5 among 55.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import t as student_t

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions

FEWEST_VIDEOS = 5
CONFIDENCE = 0.95

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Replicates:
    """A figure and what it is without each video: (videos,), NaN where it is then undefined.

    `clusters` counts the videos that hold the rarer kind of frame, positive or negative.
    """

    point: float
    left_out: DoubleArray
    clusters: int


@dataclass(frozen=True)
class Difference:
    """The figure of one model minus that of another on the same videos, with its 95 % interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """How two models differ in AUC and mAUC; None where a figure is undefined or not comparable."""

    auc: Difference | None
    m_auc: Difference | None


def auc_replicates(scores: FloatArray, positive: BoolArray, offsets: IntArray) -> Replicates | None:
    """Frame-level AUC with all its leave-one-video-out values; None without positives or negatives.

    `scores` and `positive` are (frames,), video i owning the frames `offsets[i]:offsets[i + 1]`.
    """
    positives = np.add.reduceat(positive, offsets[:-1], dtype=np.float64)
    negatives = np.diff(offsets) - positives
    if not positives.any() or not negatives.any():
        return None
    concordant = np.add.reduceat(_concordant(scores, positive), offsets[:-1])
    within = np.zeros(len(positives))
    for video in np.flatnonzero((positives > 0) & (negatives > 0)):
        own = slice(offsets[video], offsets[video + 1])
        within[video] = _concordant(scores[own], positive[own]).sum() / 2
    # Every concordant pair was counted at both its frames, so a pair within a video came twice.
    total = concordant.sum() / 2
    pairs = (positives.sum() - positives) * (negatives.sum() - negatives)
    with np.errstate(invalid="ignore"):
        left_out = (total - concordant + within) / pairs
    clusters = int(min((positives > 0).sum(), (negatives > 0).sum()))
    return Replicates(float(total / (positives.sum() * negatives.sum())), left_out, clusters)


def class_replicates(predictions: Predictions) -> dict[str, Replicates]:
    """One-against-the-rest AUC of every class of the model, Normal included, for which it is defined."""
    found = {
        name: auc_replicates(
            np.ascontiguousarray(predictions.probabilities[:, column]),
            predictions.truth_of(name),
            predictions.offsets,
        )
        for column, name in enumerate(predictions.classes)
    }
    return {name: replicates for name, replicates in found.items() if replicates is not None}


def mean_replicates(classes: dict[str, Replicates]) -> Replicates | None:
    """mAUC, the mean over the abnormal classes, with its leave-one-video-out values.

    A class whose only video is left out drops from that mean, so that its distance from the other classes
    stands for its unknown spread (ShanghaiTech's sizes: coverage 95 %, but 75 % if its value were kept).
    """
    abnormal = [replicates for name, replicates in classes.items() if name != NORMAL]
    if not abnormal:
        return None
    left_out = np.stack([replicates.left_out for replicates in abnormal])
    defined = ~np.isnan(left_out)
    with np.errstate(invalid="ignore"):
        mean = np.where(defined, left_out, 0.0).sum(axis=0) / defined.sum(axis=0)
    clusters = min(left_out.shape[1], sum(replicates.clusters for replicates in abnormal))
    return Replicates(float(np.mean([replicates.point for replicates in abnormal])), mean, clusters)


def logit_interval(replicates: Replicates | None) -> Interval | None:
    """The jackknife's interval, taken on the logit scale and mapped back to (0, 1).

    None below five videos, and where the figure, with all videos or without some single one, is undefined
    or exactly 0 or 1.
    """
    if replicates is None:
        return None
    values = np.append(replicates.left_out, replicates.point)
    if not ((values > 0) & (values < 1)).all():
        return None
    margin = _margin(logit(replicates.left_out), replicates.clusters)
    if margin is None:
        return None
    centre = logit(replicates.point)
    return Interval(float(expit(centre - margin)), float(expit(centre + margin)))


def paired_difference(a: Predictions, b: Predictions) -> PairedDifference:
    """ΔAUC and ΔmAUC (`a` minus `b`) of two models on the same videos with the same truth.

    ΔmAUC is None where the models do not share the classes that occur. Raises UsageError where videos,
    their lengths or their truth differ.
    """
    return mean_paired_difference([a], [b])


def mean_paired_difference(a: Sequence[Predictions], b: Sequence[Predictions]) -> PairedDifference:
    """The same for two methods of several trainings each: the difference of their mean AUC and of their mean mAUC.

    The interval is over the test videos, given these trainings: how figures vary between them is not in it.
    """
    auc_a, m_auc_a, classes_a = _mean_figures(a, a[0])
    auc_b, m_auc_b, classes_b = _mean_figures(b, a[0])
    m_auc = _difference(m_auc_a, m_auc_b) if classes_a == classes_b else None
    return PairedDifference(_difference(auc_a, auc_b), m_auc)


def _concordant(scores: FloatArray, positive: BoolArray) -> DoubleArray:
    """For every frame, the frames of the other kind that it is ranked rightly against; a tie counts ½."""
    order = np.argsort(scores)
    ranked, is_positive = scores[order], positive[order]
    ties = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sizes = np.diff(np.append(ties, len(ranked)))
    positives = np.add.reduceat(is_positive, ties, dtype=np.float64)
    negatives = sizes - positives
    negatives_below = np.cumsum(negatives) - negatives / 2
    positives_above = positives.sum() - np.cumsum(positives) + positives / 2
    concordant = np.empty(len(scores))
    concordant[order] = np.where(is_positive, np.repeat(negatives_below, sizes), np.repeat(positives_above, sizes))
    return concordant


def _margin(left_out: DoubleArray, clusters: int) -> float | None:
    """Half the width of a 95 % interval: a t quantile times the jackknife's standard error."""
    videos = len(left_out)
    if videos < FEWEST_VIDEOS or np.isnan(left_out).any():
        return None
    variance = (videos - 1) / videos * float(np.square(left_out - left_out.mean()).sum())
    return float(student_t.ppf((1 + CONFIDENCE) / 2, clusters - 1) * np.sqrt(variance))


def _mean_figures(
    trainings: Sequence[Predictions], videos: Predictions
) -> tuple[Replicates | None, Replicates | None, set[str]]:
    """The means of AUC and mAUC over trainings, videos in the order of another table, and the classes that occur."""
    aucs, m_aucs, classes = [], [], set[str]()
    for predictions in trainings:
        order = _same_videos(videos, predictions)
        of_class = class_replicates(predictions)
        overall = auc_replicates(predictions.scores, predictions.anomalous, predictions.offsets)
        aucs.append(_reordered(overall, order))
        m_aucs.append(_reordered(mean_replicates(of_class), order))
        classes |= of_class.keys()
    return _mean(aucs), _mean(m_aucs), classes


def _reordered(replicates: Replicates | None, order: Sequence[int]) -> Replicates | None:
    return replicates and replace(replicates, left_out=replicates.left_out[order])


def _mean(trainings: Sequence[Replicates | None]) -> Replicates | None:
    defined = [replicates for replicates in trainings if replicates is not None]
    if len(defined) < len(trainings):
        return None
    points, left_out = [part.point for part in defined], [part.left_out for part in defined]
    return Replicates(float(np.mean(points)), np.mean(left_out, axis=0), defined[0].clusters)


def _difference(a: Replicates | None, b: Replicates | None) -> Difference | None:
    if a is None or b is None:
        return None
    value = a.point - b.point
    margin = _margin(a.left_out - b.left_out, a.clusters)
    return Difference(value, None if margin is None else Interval(value - margin, value + margin))


def _same_videos(a: Predictions, b: Predictions) -> list[int]:
    """Where each video of `a` stands in `b`, having checked that both saw the same frames and truth."""
    if set(a.video_ids) != set(b.video_ids) or set(a.label_classes) != set(b.label_classes):
        raise UsageError("two models compare only on the same videos and labels; these tables differ in them")
    position = {video_id: i for i, video_id in enumerate(b.video_ids)}
    order = [position[video_id] for video_id in a.video_ids]
    columns = [b.label_classes.index(name) for name in a.label_classes]
    for i, j in enumerate(order):
        if not np.array_equal(a.truth[a.frames_of(i)], b.truth[b.frames_of(j)][:, columns]):
            raise UsageError(f"video {a.video_ids[i]}: the two tables differ in its frames or labels")
    return order
