"""Scoring of long videos in overlapping parts, in memory that does not grow with their length."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.config import ModelConfig
from anomalyclip.features.feature_file import Features

FloatArray = NDArray[np.float32]
ScorePart = Callable[[Features], tuple[FloatArray, FloatArray]]
"""Features `(frames, crops, dim)` to scores `(frames,)` and class probabilities `(frames, classes)`."""


class PartLengths(NamedTuple):
    """Which videos are scored in parts, in stored features."""

    longest: int
    """Longer videos are; as long as the longest training video."""
    part: int


def part_lengths(lengths: tuple[int, int] | None, config: ModelConfig) -> PartLengths | None:
    """Return the lengths for a model that was trained on videos of these lengths (median and longest).

    A part has as many whole windows as the median training video, at least one. None if the lengths are unknown.
    """
    if lengths is None:
        return None
    median, longest = lengths
    window = config.segments * config.frames_per_segment * config.stride
    return PartLengths(max(longest, window), max(1, median // window) * window)


def score_in_parts(
    score: ScorePart, features: Iterable[Features], count: int, length: int
) -> tuple[FloatArray, FloatArray]:
    """Score `count` stored features in parts of `length`, each overlapping the next one by half or more.

    Where parts overlap, their scores are averaged with weights that fall linearly towards the ends of each part, so
    that there is no jump. `count` must be above `length`.
    """
    starts = part_starts(count, length)
    weights = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5).astype(np.float32)
    parts = zip(starts, cut(features, starts, length), strict=True)
    total = np.zeros((count, 1), np.float32)
    for start in starts:
        total[start : start + length] += weights[:, None]
    blended: FloatArray | None = None
    for start, part in parts:
        scored = np.column_stack(score(part))
        blended = np.zeros((count, scored.shape[1]), np.float32) if blended is None else blended
        within = slice(start, start + length)
        blended[within] += weights[:, None] / total[within] * scored
    assert blended is not None
    np.clip(blended, 0, 1, out=blended)  # shares of 1 may add up to a little more
    return blended[:, 0], blended[:, 1:]


def part_starts(count: int, length: int) -> list[int]:
    """Return where the parts start: at most half a length apart, the last one ends with the video."""
    number = -(-(count - length) // max(1, length // 2)) + 1
    return [int(start) for start in np.linspace(0, count - length, number).round()]


def cut(features: Iterable[Features], starts: Iterable[int], length: int) -> Iterator[Features]:
    """Yield the features from each start on, from an iterable that is read once; only a part is in memory."""
    source, kept, first = iter(features), list[Features](), 0
    for start in starts:
        while kept and first + len(kept[0]) <= start:
            first += len(kept.pop(0))
        while first + sum(map(len, kept)) < start + length and (more := next(source, None)) is not None:
            kept.append(more)
        yield np.concatenate(kept)[start - first : start - first + length]
