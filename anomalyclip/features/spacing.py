"""Which frames of a video a stored feature stands for: every n-th frame, or an even part of the video."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def frames_per_feature(num_frames: int, features: int, sampling_rate: int | None) -> Fraction:
    """Return the frames that each of a video's stored features stands for.

    Without a sampling rate the features are snippets, spread evenly over the video: of N snippets and n frames, snippet
    k covers the frames floor(k n / N) to floor((k + 1) n / N) - 1; none if the video has fewer frames than snippets.
    """
    return Fraction(num_frames, features) if sampling_rate is None else Fraction(sampling_rate)


def first_frames(start: int, stop: int, length: int | Fraction) -> NDArray[np.int64]:
    """Return the first frames `(stop - start,)` of the parts `start` to `stop - 1` of a video, each `length` long."""
    return np.arange(start, stop) * length.numerator // length.denominator


def covering_features(num_frames: int, features: int, length: Fraction) -> NDArray[np.int64]:
    """Return the stored feature `(num_frames,)` that stands for each frame; the last one for all that remain."""
    return np.minimum(((np.arange(num_frames) + 1) * length.denominator - 1) // length.numerator, features - 1)
