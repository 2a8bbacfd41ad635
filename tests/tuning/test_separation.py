"""How far validation separates trials, on scores made by hand."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from anomalyclip.tuning.separation import separate

NAMES = {"a": "k=1", "b": "k=2", "c": "k=3"}


def table(scores: list[float], abnormal: int) -> pl.DataFrame:
    """The first videos have an anomaly."""
    truth = [number < abnormal for number in range(len(scores))]
    return pl.DataFrame({"video_id": [f"v{n}" for n in range(len(scores))], "abnormal": truth, "score": scores})


def test_trials_that_tie_are_not_separated() -> None:
    twelve = [1.0, 0.9, 0.8, 0.3, 0.2, 0.1, 0.7, 0.6, 0.25, 0.15, 0.05, 0.0]
    others = [0.3, 1.0, 0.9, 0.8, 0.1, 0.2, 0.7, 0.25, 0.6, 0.05, 0.15, 0.0]
    tables = {"a": table(twelve, 6), "b": table(others, 6), "c": table(twelve, 6)}
    aucs = {float(roc_auc_score(each["abnormal"], each["score"])) for each in tables.values()}
    assert len(aucs) == 1
    apart = separate(tables, best="a", following="b", default="c")
    assert [each.auc.value for each in apart.others.values()] == [0.0, 0.0]
    assert (apart.separated(), apart.values()["next"]["separated"]) == (0, False)
    text = "\n".join(apart.sentences(NAMES))
    assert "12 videos, 6 of them with an anomaly" in text
    assert "The next trial, k=2: +0.0000 (-" in text and "not separated" in text
    assert "separates the best trial from 0 of 2 other" in text
    assert apart.tags() == {"separated_from_next": "no", "separated_from_default": "no"}


def test_a_trial_that_is_far_better_is_separated() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(60) < 30
    good, bad = truth + random.normal(0, 0.3, 60), random.normal(0, 1, 60)
    apart = separate({"a": table(good.tolist(), 30), "b": table(bad.tolist(), 30)}, "a", following="b", default="a")
    following = apart.named["next"]
    assert following is not None and following.separated
    expected = roc_auc_score(truth, good) - roc_auc_score(truth, bad)
    assert apart.metrics()["best_minus_next"] == pytest.approx(expected)
    assert 0 < apart.metrics()["best_minus_next_low"] < expected < apart.metrics()["best_minus_next_high"]
    assert apart.tags() == {"separated_from_next": "yes"}
    assert "The best trial is the default configuration." in apart.sentences(NAMES)
    assert (apart.values()["best_is_default"], apart.values()["default"]) == (True, None)


@pytest.mark.parametrize("videos, abnormal", [(4, 2), (8, 1), (8, 7)])
def test_too_few_videos_have_no_interval_and_the_report_says_so(videos: int, abnormal: int) -> None:
    scores = np.linspace(1, 0, videos).tolist()
    apart = separate({"a": table(scores, abnormal), "b": table(scores[::-1], abnormal)}, "a", "b", default=None)
    values = apart.values()
    assert (values["next"]["low"], values["next"]["high"], values["next"]["separated"]) == (None, None, None)
    assert values["default"] is None
    assert set(apart.metrics()) == {"best_minus_next"}
    assert apart.tags() == {"separated_from_next": "unknown"}
    lines = apart.sentences(NAMES)
    assert lines[1].endswith(", no interval.")
    assert "The default configuration is not among the finished trials." in lines
    assert lines[-1].startswith("Validation cannot separate the trials: intervals need at least 5 videos")


def test_a_trial_alone_has_nothing_to_compare_with() -> None:
    apart = separate({"a": table([1, 0, 1, 0, 1, 0], 3)}, "a", following=None, default="a")
    assert (apart.metrics(), apart.tags()) == ({}, {})
    assert apart.sentences(NAMES)[-1] == "No other trial is finished: there is nothing to compare with."
