"""Timeline: the scores of a video thinned for drawing, with no peak lost."""

from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.events.event import Track

MOST_POINTS = 1000


class Timeline(NamedTuple):
    """Points of a line to draw, in order of time; the last one ends the last frame."""

    times: list[float]
    """Seconds, to the millisecond."""
    scores: list[float]
    runs: list[tuple[int, str]]
    """First point of each run of points with the same dominant class, which is never Normal."""


def thin(track: Track) -> Timeline:
    """Return at most `MOST_POINTS` points, and the end: all frames, or the lowest and the highest score of each bucket.

    A bucket's class is that with the largest probability mass in it.
    """
    bounds = _bounds(len(track.scores))
    kept = [_extremes(track.scores, first, end) for first, end in pairwise(bounds)]
    frames = np.array([frame for bucket in kept for frame in bucket])
    points = zip(kept, _dominant(track, bounds), strict=True)
    labels = [label for bucket, label in points for _ in bucket]
    return Timeline(
        times=np.append(track.edges[frames], track.edges[-1]).round(3).tolist(),
        scores=[round(float(score), 4) for score in np.append(track.scores[frames], track.scores[-1])],
        runs=[(next(run)[0], label) for label, run in groupby(enumerate(labels), key=lambda point: point[1])],
    )


def _bounds(frames: int) -> NDArray[np.int64]:
    """Return the first frame of each bucket, and the number of frames."""
    buckets = frames if frames <= MOST_POINTS else MOST_POINTS // 2
    return np.arange(buckets + 1) * frames // buckets


def _extremes(scores: NDArray[np.floating[Any]], first: int, end: int) -> list[int]:
    """Return the frames of the lowest and the highest score, in order of time; one if they are the same."""
    within = scores[first:end]
    return sorted({first + int(within.argmin()), first + int(within.argmax())})


def _dominant(track: Track, bounds: NDArray[np.int64]) -> list[str]:
    names = track.abnormal()
    masses = np.stack(
        [
            np.add.reduceat(track.probabilities[:, track.classes.index(name)], bounds[:-1], dtype=np.float64)
            for name in names
        ]
    )
    return [names[place] for place in masses.argmax(axis=0)]
