"""Every frame of a video is covered by exactly one stored feature."""

from fractions import Fraction

import numpy as np
import pytest

from anomalyclip.features.spacing import covering_features, first_frames, frames_per_feature


@pytest.mark.parametrize("frames", [1, 31, 32, 33, 137, 4000])
@pytest.mark.parametrize("snippets", [1, 7, 32, 200])
def test_snippet_k_covers_its_even_part_of_the_frames(frames: int, snippets: int) -> None:
    length = frames_per_feature(frames, snippets, None)
    expected = [k for k in range(snippets) for _ in range(k * frames // snippets, (k + 1) * frames // snippets)]
    assert covering_features(frames, snippets, length).tolist() == expected
    assert first_frames(0, snippets, length).tolist() == [k * frames // snippets for k in range(snippets)]


def test_a_sampling_rate_covers_whole_snippets_and_the_last_feature_the_rest() -> None:
    length = frames_per_feature(50, 3, 16)
    assert length == Fraction(16)
    np.testing.assert_array_equal(covering_features(50, 3, length), np.minimum(np.arange(50) // 16, 2))
