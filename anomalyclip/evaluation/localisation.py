"""Temporal localisation as the literature measures it: mean average precision of class segments at temporal IoUs.

Segments are proposed from the probability of each class alone (`proposals`), as VadCLIP's evaluation does, and need no
thresholds of the model. They are judged by two conventions, which do not compare: that of VadCLIP's code, in which most
papers print figures of UCF-Crime, and that of ActivityNet. Segments are [start, end) in frames of the whole table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions
from anomalyclip.events.detection import DoubleArray
from anomalyclip.events.matching import overlaps

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
RANGE = 0.6
"""The threshold lies this part of the range of a video's probabilities below the highest one."""
MEAN_WEIGHT = 0.7
"""Weight of the mean of a video's highest probabilities in a segment's score."""
FRAMES_PER_TOP = 16
"""One in so many of a video's frames is in that mean."""
SHORTEST = 2
"""Frames."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Segments proposed for a class, in order of time."""

    spans: IntArray
    """`(proposals, 2)`"""
    ranks: IntArray
    """Place of each by falling score, from 0; of equal scores the earlier first: (proposals,)."""


def proposals(probabilities: FloatArray, offsets: IntArray) -> Proposals:
    """Return the segments proposed from the probabilities of a class `(frames,)`.

    They are the runs above max - 0.6 (max - min) of the video, of at least 2 frames. Their score is the highest
    probability in the run plus 0.7 times the mean of the highest sixteenth of the video's.
    """
    values = probabilities.astype(np.float64)
    lows, highs = (reduce.reduceat(values, offsets[:-1]) for reduce in (np.minimum, np.maximum))
    thresholds = np.repeat(highs - RANGE * (highs - lows), np.diff(offsets))
    spans = segments(values > thresholds, offsets)
    spans = spans[spans[:, 1] - spans[:, 0] >= SHORTEST]
    means = np.array([_mean_of_highest(values[start:end]) for start, end in pairwise(offsets)])
    peaks = np.maximum.reduceat(np.append(values, 0.0), spans.ravel())[::2] if len(spans) else np.empty(0)
    scores = peaks + MEAN_WEIGHT * means[np.searchsorted(offsets, spans[:, 0], side="right") - 1]
    ranks = np.empty(len(spans), dtype=np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(spans))
    return Proposals(spans, ranks)


def segments(flags: BoolArray, offsets: IntArray) -> IntArray:
    """Return the runs of true `flags` (frames,) inside each video: (segments, 2)."""
    begins, ends = flags.copy(), flags.copy()
    begins[1:] &= ~flags[:-1]
    begins[offsets[:-1]] = flags[offsets[:-1]]
    ends[:-1] &= ~flags[1:]
    ends[offsets[1:] - 1] = flags[offsets[1:] - 1]
    return np.stack([np.flatnonzero(begins), np.flatnonzero(ends) + 1], axis=1)


def average_precisions(found: Proposals, true: IntArray, interpolated: bool) -> DoubleArray:
    """Return the average precision of a class at each of IOUS; 0 without true segments `(segments, 2)`.

    By falling score, a proposal takes the free true segment with the highest temporal IoU, if that is high enough.
    `interpolated` counts at each recall the highest precision at this recall or a higher one.
    """
    pairs = _pairs(found, true)
    return np.array([_average_precision(_hits(pairs, iou), len(true), interpolated) for iou in IOUS])


def vadclip(predictions: Predictions, found: Sequence[Proposals], as_published: bool) -> DoubleArray:
    """Return mAP at each of IOUS as VadCLIP's evaluation computes it, for proposals of each of the model's classes.

    `as_published` has the faults of its code on UCF-Crime, which are in all printed figures: Normal is in the mean,
    with 0, as is a class without a true segment; true segments lack their last frame; all is 0 if a class has no
    proposal.
    """
    if as_published and any(not len(each.spans) for each in found):
        return np.zeros(len(IOUS))
    means = []
    for name, each in zip(predictions.classes, found, strict=True):
        true = segments(predictions.truth_of(name), predictions.offsets)
        if as_published:
            true = true[:0] if name == NORMAL else true - np.array([0, 1])
        if as_published or (name != NORMAL and len(true)):
            means.append(average_precisions(each, true, interpolated=False))
    return np.mean(means, axis=0)


def standard(predictions: Predictions, found: Sequence[Proposals]) -> DoubleArray:
    """Return mAP at each of IOUS by ActivityNet's convention, over the abnormal classes with true segments."""
    true = [segments(predictions.truth_of(name), predictions.offsets) for name in predictions.classes]
    each = zip(predictions.classes, found, true, strict=True)
    return np.mean([average_precisions(p, t, True) for name, p, t in each if name != NORMAL and len(t)], axis=0)


def _mean_of_highest(values: DoubleArray) -> float:
    count = max(1, len(values) // FRAMES_PER_TOP)
    return float(np.partition(values, -count)[-count:].mean())


def _pairs(found: Proposals, true: IntArray) -> list[tuple[int, int, float]]:
    """Return rank of the proposal, true segment and IoU of those that overlap, by rank, then by falling IoU."""
    pairs = []
    for number, segment in enumerate(true):
        first = int(np.searchsorted(found.spans[:, 1], segment[0], side="right"))
        last = int(np.searchsorted(found.spans[:, 0], segment[1]))
        near = found.spans[first:last]
        values = overlaps(segment[None].astype(np.float64), near.astype(np.float64))[0]
        ranks = found.ranks[first:last]
        pairs += [(int(ranks[at]), number, float(values[at])) for at in np.flatnonzero(values >= IOUS[0])]
    return sorted(pairs, key=lambda pair: (pair[0], -pair[2]))


def _hits(pairs: Sequence[tuple[int, int, float]], iou: float) -> list[int]:
    """Return the ranks of the proposals that take a true segment, falling scores first."""
    hits: dict[int, int] = {}
    for rank, segment, value in pairs:
        if value >= iou and rank not in hits and segment not in hits.values():
            hits[rank] = segment
    return list(hits)


def _average_precision(hits: Sequence[int], true: int, interpolated: bool) -> float:
    precision = np.arange(1, len(hits) + 1) / (np.array(hits, dtype=np.float64) + 1)
    if interpolated:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision.sum() / true) if true else 0.0
