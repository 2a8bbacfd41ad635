from collections.abc import Iterator

import numpy as np
import pytest

from anomalyclip.config import ModelConfig
from anomalyclip.evaluation.parts import FloatArray, cut, part_lengths, part_starts, score_in_parts
from anomalyclip.features.feature_file import Features

CONFIG = ModelConfig(segments=4, frames_per_segment=5)


def features(count: int) -> Features:
    """One number per frame: its place."""
    return np.arange(count, dtype=np.float16)[:, None, None]


def in_pieces(whole: Features, size: int) -> Iterator[Features]:
    yield from (whole[at : at + size] for at in range(0, len(whole), size))


def of_place(part: Features) -> tuple[FloatArray, FloatArray]:
    """Scores that depend on the frame alone, of two classes."""
    scores = (part[:, 0, 0].astype(np.float32) % 17) / 17
    return scores, np.stack([scores, 1 - scores], axis=1)


@pytest.mark.parametrize(
    "count, length", [(21, 20), (29, 20), (200, 20), (203, 20), (1000, 7), (11, 10), (3, 2), (5, 1)]
)
@pytest.mark.parametrize("size", [1, 3, 64, 5000])
def test_each_frame_is_in_parts_and_what_does_not_depend_on_the_part_stays(count: int, length: int, size: int) -> None:
    starts = part_starts(count, length)
    assert (starts[0], starts[-1]) == (0, count - length)
    assert np.diff(starts).max() <= max(1, length // 2) + 1
    scores, probabilities = score_in_parts(of_place, in_pieces(features(count), size), count, length)
    whole = of_place(features(count))
    np.testing.assert_allclose(scores, whole[0], atol=1e-6)
    np.testing.assert_allclose(probabilities, whole[1], atol=1e-6)
    assert scores.dtype == probabilities.dtype == np.float32
    assert min(scores.min(), probabilities.min()) >= 0 and max(scores.max(), probabilities.max()) <= 1


def test_parts_fade_into_each_other() -> None:
    numbers = iter(range(100))

    def by_part(part: Features) -> tuple[FloatArray, FloatArray]:
        return np.full(len(part), next(numbers) % 2, np.float32), np.zeros((len(part), 1), np.float32)

    scores, _ = score_in_parts(by_part, [features(400)], 400, 40)
    assert np.abs(np.diff(scores)).max() == pytest.approx(1 / 20, abs=0.01)
    assert (scores[0], scores.max()) == (0, pytest.approx(1, abs=0.03))


def test_only_a_part_is_in_memory() -> None:
    taken = 0

    def counted() -> Iterator[Features]:
        nonlocal taken
        for piece in in_pieces(features(1000), 10):
            taken += len(piece)
            yield piece

    for start, part in zip((0, 50, 900), cut(counted(), (0, 50, 900), 100), strict=True):
        assert part[:, 0, 0].tolist() == list(range(start, start + 100))
        assert taken == start + 100


def test_lengths_are_those_of_the_training() -> None:
    assert part_lengths(None, CONFIG) is None
    assert part_lengths((15, 18), CONFIG) == (20, 20)  # less than a window
    assert part_lengths((39, 90), CONFIG) == (90, 20)
    assert part_lengths((65, 90), CONFIG) == (90, 60)
