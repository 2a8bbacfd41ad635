"""What a model is worth after its training: against chance, and against zero-shot CLIP on the same videos."""

from dataclasses import replace

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import compare, measure
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.standing import chance_warning, standing
from tests.predicted import in_memory

FRAMES = 20


def table(skill: float, seed: int, videos: int = 12) -> Predictions:
    """Half of the videos are anomalous in their second half."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(videos * FRAMES) % FRAMES >= FRAMES // 2) & (np.arange(videos * FRAMES) // FRAMES % 2 == 0)
    scores = 0.6 * rng.random(len(truth)) + np.repeat(0.1 * rng.random(videos), FRAMES) + skill * truth
    return in_memory(
        offsets=np.arange(videos + 1) * FRAMES, scores=scores, truth=truth[:, None], label_classes=("Arson",),
        probabilities=np.column_stack([scores, 1 - scores]), classes=("Arson", "Normal"),
    )  # fmt: skip


def unlocated(predictions: Predictions) -> Predictions:
    """The same without frame intervals."""
    known = ~predictions.video_truth.any(axis=1)
    return replace(predictions, truth=np.zeros_like(predictions.truth), known=known)


def test_a_good_model_is_above_chance_and_above_zero_shot() -> None:
    model, zero_shot = table(0.3, 1), table(0.05, 2)
    found = standing(model, zero_shot)
    assert (found.above_chance, found.beats_zero_shot, found.doubtful) == (True, True, False)
    assert found.difference == compare(model, zero_shot).figures["auc"]
    assert found.sentence.startswith("AUC 0.")
    assert ": above chance; beats zero-shot CLIP on the same videos, difference +0." in found.sentence
    assert found.tags() == {"above_chance": "yes", "beats_zero_shot": "yes"}


def test_a_model_below_zero_shot_and_at_chance_is_told_so() -> None:
    found = standing(table(0.0, 1), table(0.3, 2))
    assert (found.above_chance, found.beats_zero_shot, found.doubtful) == (False, False, True)
    assert ": not above chance (0.5); is worse than zero-shot CLIP on the same videos, difference -0." in found.sentence
    assert found.tags() == {"above_chance": "no", "beats_zero_shot": "no"}


def test_a_model_as_good_as_zero_shot_does_not_beat_it() -> None:
    found = standing(table(0.3, 1), table(0.3, 2))
    assert (found.above_chance, found.beats_zero_shot, found.doubtful) == (True, False, True)


def test_too_few_videos_leave_both_open() -> None:
    found = standing(table(0.3, 1, videos=4), table(0.1, 2, videos=4))
    assert (found.above_chance, found.beats_zero_shot, found.doubtful) == (None, None, True)
    assert ": too few test videos to tell it from chance; too few test videos to compare" in found.sentence
    assert found.tags() == {"above_chance": "unknown", "beats_zero_shot": "unknown"}


def test_without_a_text_tower_the_model_is_compared_with_chance_alone() -> None:
    found = standing(table(0.3, 1), None)
    assert (found.above_chance, found.beats_zero_shot, found.difference, found.doubtful) == (True, None, None, False)
    assert found.sentence.endswith(": above chance; not compared with zero-shot CLIP: there is no text tower.")


def test_a_perfect_model_is_above_chance() -> None:
    found = standing(table(0.9, 1), table(0.05, 2))
    assert (found.above_chance, found.beats_zero_shot) == (True, True)
    assert found.sentence.startswith("AUC 1.000: above chance; beats")


def test_without_frame_intervals_video_auc_decides() -> None:
    found = standing(unlocated(table(0.3, 1)), unlocated(table(0.0, 2)))
    assert (found.figure.name, found.above_chance, found.beats_zero_shot) == ("video_auc", True, True)
    assert found.sentence.startswith("video AUC ")


def test_normal_videos_alone_tell_nothing() -> None:
    model = table(0.3, 1).select(range(1, 12, 2))
    found = standing(model, model)
    assert (found.above_chance, found.beats_zero_shot, found.doubtful) == (None, None, True)
    assert found.sentence.startswith("video AUC undefined: the test videos are not both normal and anomalous; not comp")


def test_other_videos_are_refused() -> None:
    with pytest.raises(UsageError, match="the same videos: 2 only in the first"):
        standing(table(0.3, 1), table(0.3, 2).select(range(10)))


def test_an_evaluation_warns_unless_the_model_is_above_chance() -> None:
    assert chance_warning(measure(table(0.3, 1)).metrics) is None
    line = chance_warning(measure(table(0.0, 1)).metrics)
    assert line is not None and line.endswith(": not above chance (0.5)")
    few = chance_warning(measure(table(0.3, 1, videos=4)).metrics)
    assert few is not None and few.endswith(": too few test videos to tell it from chance")
