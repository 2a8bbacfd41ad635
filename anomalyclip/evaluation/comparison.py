"""Comparison of two models on the same videos, from their predictions tables alone.

Differences are paired: the effect of one video on both figures cancels. This module knows neither MLflow nor files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.errors import UsageError, first_names
from anomalyclip.evaluation.declarations import Estimate, Figure
from anomalyclip.evaluation.figures import CLASS_FIGURES, FIGURES
from anomalyclip.evaluation.intervals import Difference, DoubleArray, averaged, concordant_frames, difference
from anomalyclip.evaluation.metrics import Metrics, compute_metrics, frame_level, tables_of
from anomalyclip.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Measured:
    """A predictions table and its figures."""

    predictions: Predictions
    metrics: Metrics


@dataclass(frozen=True)
class VideoDifference:
    """The effect of one video on the difference in AUC."""

    video_id: str
    labels: tuple[str, ...]
    """Classes that occur in it; none: Normal."""
    frames: int
    first: float
    """Share of pairs with its frames that the first model ranks correctly: 0.5 is chance."""
    second: float
    contribution: float
    """To the first's AUC minus the second's; those of all videos sum to it."""


@dataclass(frozen=True)
class Comparison:
    """The first model's figures minus the second's, with paired 95 % intervals."""

    figures: Mapping[str, Difference | None]
    """By the name of the figure: None if one is undefined, or if they are means over different classes."""
    of_class: Mapping[str, Mapping[str, Difference]]
    """By the name of the class figure, then by class: the classes that both models know, Normal among them."""
    videos: Sequence[VideoDifference]
    """All videos with a known truth of frames, the largest contributions first; none if AUC is undefined."""


def measure(predictions: Predictions) -> Measured:
    """Return a predictions table with its figures."""
    return Measured(predictions, compute_metrics(predictions))


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Return the first model's figures minus the second's; raises UsageError as `check_comparable` does."""
    check_comparable(first, second)
    return compare_measured(measure(first), measure(second))


def compare_measured(first: Measured, second: Measured) -> Comparison:
    """Return the same of two tables that are known to be comparable."""
    second = _in_order(second, first)
    return Comparison(
        figures=figure_differences(first, second),
        of_class={
            name: _class_differences(first.metrics.of_class[name], second.metrics.of_class[name])
            for name in CLASS_FIGURES
        },
        videos=_videos(first, second),
    )


def figure_differences(first: Measured, second: Measured) -> dict[str, Difference | None]:
    """Return the differences in all figures of which higher or lower is better, by name, of two comparable tables."""
    second = _in_order(second, first)
    mine, theirs = first.metrics.figures, second.metrics.figures
    return {
        name: figure_difference(figure, mine[name], theirs[name]) for name, figure in FIGURES.items() if figure.better
    }


def figure_difference(figure: Figure, first: Estimate | None, second: Estimate | None) -> Difference | None:
    """Return the difference in one figure of two models on the same videos in the same order.

    None if one is undefined, or if they are means over different classes. One without replicates has no interval.
    """
    if first is None or second is None or first.classes != second.classes:
        return None
    if not figure.paired:
        return Difference(first.value - second.value, None)
    return difference(first.replicates, second.replicates, figure.better == "lower")


def mean_differences(
    names: Iterable[str], first: Sequence[Predictions], second: Sequence[Predictions]
) -> dict[str, Difference | None]:
    """Return, by name, the differences in figures of two methods, each the mean over several trainings.

    The interval is over the test videos, given these trainings: how figures vary between them is not in it. Raises
    UsageError if videos, their lengths or their truth differ.
    """
    means = [_mean_estimates(list(names), trainings, first[0]) for trainings in (first, second)]
    return {name: figure_difference(FIGURES[name], *(mean[name] for mean in means)) for name in means[0]}


def check_comparable(first: Predictions, second: Predictions) -> None:
    """Raise UsageError with what differs unless two models saw the same videos with the same annotations."""
    same_videos(first, second)
    digests = first.digests.annotations, second.digests.annotations
    if digests[0] != digests[1]:
        raise UsageError(
            f"models compare only on the same annotations: the digests of these are {digests[0][:12]} and "
            f"{digests[1][:12]}, though every frame has the same labels; evaluate both on one manifest"
        )


def aligned(predictions: Predictions, reference: Predictions) -> Predictions:
    """Return predictions with their videos in the order of another table; raises UsageError as `same_videos` does."""
    order = same_videos(reference, predictions)
    return predictions if order == list(range(len(order))) else predictions.select(order)


def same_videos(first: Predictions, second: Predictions) -> list[int]:
    """Return the position in the second table of each video of the first.

    Raises UsageError with what differs unless both hold the same videos, frames and labels.
    """
    ours, theirs = set(first.video_ids), set(second.video_ids)
    if ours != theirs:
        sides = ((ours - theirs, "first"), (theirs - ours, "second"))
        only = "; ".join(f"{len(ids)} only in the {side}: {first_names(sorted(ids))}" for ids, side in sides if ids)
        raise UsageError(f"models compare only on the same videos: {only}")
    position = {video_id: i for i, video_id in enumerate(second.video_ids)}
    order = [position[video_id] for video_id in first.video_ids]
    differing = [first.video_ids[i] for i, j in enumerate(order) if not _same_truth(first, i, second, j)]
    if differing:
        raise UsageError(
            f"models compare only on the same annotations: {len(differing)} of {len(order)} videos differ in their "
            f"frames or labels: {first_names(differing)}"
        )
    return order


def _in_order(measured: Measured, reference: Measured) -> Measured:
    """Return a table with its videos in the order of another one; it is measured again only if they differ."""
    ours = aligned(measured.predictions, reference.predictions)
    return measured if ours is measured.predictions else measure(ours)


def _same_truth(first: Predictions, i: int, second: Predictions, j: int) -> bool:
    ours, theirs = first.frames_of(i), second.frames_of(j)
    if ours.stop - ours.start != theirs.stop - theirs.start or first.known[i] != second.known[j]:
        return False
    names = set(first.labels_of(i))
    if names != set(second.labels_of(j)):
        return False
    return all(np.array_equal(first.truth_of(name)[ours], second.truth_of(name)[theirs]) for name in names)


def _class_differences(
    first: Mapping[str, Estimate | None], second: Mapping[str, Estimate | None]
) -> dict[str, Difference]:
    shared = {name: (estimate, second.get(name)) for name, estimate in first.items()}
    found = {name: difference(a.replicates, b.replicates) for name, (a, b) in shared.items() if a and b}
    return {name: each for name, each in found.items() if each is not None}


def _mean_estimates(
    names: Sequence[str], trainings: Sequence[Predictions], reference: Predictions
) -> dict[str, Estimate | None]:
    tables = [tables_of(aligned(predictions, reference)) for predictions in trainings]
    means: dict[str, Estimate | None] = {}
    for name in names:
        each = [FIGURES[name].compute(table[FIGURES[name].level]) for table in tables]
        mean = averaged([None if estimate is None else estimate.replicates for estimate in each])
        classes = {estimate.classes for estimate in each if estimate}
        means[name] = Estimate(mean.point, None, mean, classes.pop()) if mean and len(classes) == 1 else None
    return means


def _ranked(frames: Predictions) -> tuple[DoubleArray, DoubleArray]:
    """The share of each video's pairs that are ranked correctly, and their part of AUC: (videos,) both.

    A pair is an anomalous and a normal frame; one of two videos counts half for each.
    """
    starts, positive = frames.offsets[:-1], frames.anomalous
    positives = np.add.reduceat(positive, starts, dtype=np.float64)
    negatives = np.diff(frames.offsets) - positives
    pairs = positives * negatives.sum() + negatives * positives.sum()
    each = np.ones(len(positive), dtype=np.int64)
    right = np.add.reduceat(concordant_frames(frames.scores, positive, each), starts)
    return right / pairs, pairs / pairs.sum()


def _videos(first: Measured, second: Measured) -> list[VideoDifference]:
    if first.metrics.figures["auc"] is None:
        return []
    table = frame_level(first.predictions)
    ranked, weights = _ranked(table)
    theirs, _ = _ranked(frame_level(second.predictions))
    contributions = weights * (ranked - theirs)
    return [
        VideoDifference(
            video_id=table.video_ids[video],
            labels=table.labels_of(video),
            frames=int(table.offsets[video + 1] - table.offsets[video]),
            first=float(ranked[video]),
            second=float(theirs[video]),
            contribution=float(contributions[video]),
        )
        for video in np.argsort(-np.abs(contributions), kind="stable").tolist()
    ]
