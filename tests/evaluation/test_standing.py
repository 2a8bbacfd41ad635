"""What a model is worth after its training: compared with chance, and with baselines on the same videos."""

from dataclasses import replace

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import NO_TEXT_TOWER, Absent
from anomalyclip.evaluation.comparison import compare, measure
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.standing import Standing, chance_warning, standing, unknown_standing
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


def beside(model: Predictions, **others: Predictions | Absent) -> Standing:
    """The standing of a model beside the baselines given."""
    found = {name: other if isinstance(other, Absent) else measure(other) for name, other in others.items()}
    return standing(measure(model), found)


def verdicts(found: Standing) -> tuple[bool | None, bool | None, bool]:
    """Above chance, beats the first baseline, doubtful."""
    return found.above_chance, found.against[0].beats, found.is_doubtful


def test_a_good_model_is_above_chance_and_above_zero_shot() -> None:
    model, zero_shot = table(0.3, 1), table(0.05, 2)
    found = beside(model, zero_shot=zero_shot)
    assert verdicts(found) == (True, True, False)
    assert found.against[0].differences == compare(model, zero_shot).figures
    assert found.sentence.startswith("AUC 0.")
    assert ": above chance; beats zero-shot CLIP, difference +0." in found.sentence
    assert found.tags() == {"above_chance": "yes", "beats_zero_shot": "yes"}


def test_a_model_below_zero_shot_and_at_chance_is_told_so() -> None:
    found = beside(table(0.0, 1), zero_shot=table(0.3, 2))
    assert verdicts(found) == (False, False, True)
    assert ": not above chance (0.5); is worse than zero-shot CLIP, difference -0." in found.sentence
    assert found.tags() == {"above_chance": "no", "beats_zero_shot": "no"}


def test_a_model_as_good_as_zero_shot_does_not_beat_it() -> None:
    assert verdicts(beside(table(0.3, 1), zero_shot=table(0.3, 2))) == (True, False, True)


def test_each_baseline_has_its_verdict_and_one_that_is_not_beaten_makes_the_model_doubtful() -> None:
    others = {"zero_shot": table(0.05, 2), "linear": table(0.3, 3), "mil": table(0.6, 4)}
    found = beside(table(0.3, 1), **others)
    assert found.tags() == {"above_chance": "yes", "beats_zero_shot": "yes", "beats_linear": "no", "beats_mil": "no"}
    assert found.is_doubtful
    said = found.sentence.split("; ")[1:]
    openings = ("beats zero-shot CLIP, ", "does not beat logistic regression, ", "is worse than MIL ranking, ")
    assert [text.startswith(opening) for text, opening in zip(said, openings, strict=True)] == [True] * 3
    assert not beside(table(0.3, 1), **dict.fromkeys(others, table(0.05, 2))).is_doubtful


def test_the_table_has_model_and_baselines_their_paired_differences_and_why_one_is_missing() -> None:
    model, linear = table(0.3, 1), table(0.05, 2)
    found = beside(model, zero_shot=NO_TEXT_TOWER, linear=linear, mil=Absent("3 videos are too few"))
    rows = [line.strip() for line in found.table().splitlines()]
    assert [row.split("  ")[0] for row in rows] == [
        "AUC", "this model", "zero-shot CLIP", "logistic regression", "MIL ranking", "minus logistic regression",
    ]  # fmt: skip
    assert [title.strip() for title in rows[0].split("  ") if title] == ["AUC", "mAUC", "video AUC"]
    auc, interval = measure(model).metrics.value("auc"), measure(model).metrics.interval("auc")
    assert auc and interval and f"{auc:.3f} ({interval.low:.3f} to {interval.high:.3f})" in rows[1]
    assert rows[2].endswith("there is no text tower") and rows[4].endswith("3 videos are too few")
    difference = compare(model, linear).figures["video_auc"]
    assert (
        difference and difference.interval and f"{difference.value:+.3f} ({difference.interval.low:+.3f} to" in rows[5]
    )
    assert found.sentence.endswith("; not compared with MIL ranking: 3 videos are too few.")
    assert found.tags()["beats_mil"] == "unknown" and not found.is_doubtful


def test_too_few_videos_leave_both_open() -> None:
    found = beside(table(0.3, 1, videos=4), zero_shot=table(0.1, 2, videos=4))
    assert verdicts(found) == (None, None, True)
    assert ": too few test videos to tell it from chance; too few test videos to compare" in found.sentence
    assert found.tags() == {"above_chance": "unknown", "beats_zero_shot": "unknown"}


def test_a_model_without_test_videos_has_the_same_tags() -> None:
    others = dict.fromkeys(("zero_shot", "linear", "mil"), table(0.1, 2))
    assert unknown_standing() == dict.fromkeys(beside(table(0.3, 1), **others).tags(), "unknown")


def test_without_a_text_tower_the_model_is_compared_with_chance_alone() -> None:
    found = beside(table(0.3, 1), zero_shot=NO_TEXT_TOWER)
    assert verdicts(found) == (True, None, False)
    assert found.sentence.endswith(": above chance; not compared with zero-shot CLIP: there is no text tower.")


def test_a_perfect_model_is_above_chance() -> None:
    found = beside(table(0.9, 1), zero_shot=table(0.05, 2))
    assert verdicts(found)[:2] == (True, True)
    assert found.sentence.startswith("AUC 1.000: above chance; beats")


def test_without_frame_intervals_video_auc_decides() -> None:
    found = beside(unlocated(table(0.3, 1)), zero_shot=unlocated(table(0.0, 2)))
    assert (found.figure.name, *verdicts(found)[:2]) == ("video_auc", True, True)
    assert found.sentence.startswith("video AUC ")


def test_normal_videos_alone_tell_nothing() -> None:
    model = table(0.3, 1).select(range(1, 12, 2))
    found = beside(model, zero_shot=model)
    assert verdicts(found) == (None, None, True)
    assert found.sentence.startswith("video AUC undefined: the test videos are not both normal and anomalous; not comp")


def test_other_videos_are_refused() -> None:
    with pytest.raises(UsageError, match="the same videos: 2 only in the first"):
        beside(table(0.3, 1), zero_shot=table(0.3, 2).select(range(10)))


def test_an_evaluation_warns_unless_the_model_is_above_chance() -> None:
    assert chance_warning(measure(table(0.3, 1)).metrics) is None
    line = chance_warning(measure(table(0.0, 1)).metrics)
    assert line is not None and line.endswith(": not above chance (0.5)")
    few = chance_warning(measure(table(0.3, 1, videos=4)).metrics)
    assert few is not None and few.endswith(": too few test videos to tell it from chance")
