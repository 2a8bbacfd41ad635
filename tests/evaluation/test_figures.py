"""A figure is declared once: one entry of the table, and every reader has it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import NO_TEXT_TOWER
from anomalyclip.evaluation.comparison import compare, compare_measured, measure
from anomalyclip.evaluation.comparison_report import SideBySide, flat_values, markdown, values
from anomalyclip.evaluation.declarations import ClassFigure, Estimate, Figure, Table
from anomalyclip.evaluation.figures import CLASS_FIGURES, FIGURES, class_auc
from anomalyclip.evaluation.gates import judge_figures
from anomalyclip.evaluation.intervals import Interval, Replicates
from anomalyclip.evaluation.metrics import compute_metrics, summary_values
from anomalyclip.evaluation.policy import Policy, load_policy
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.report import log_summary
from tests.predicted import in_memory

VIDEOS = 12
EXCUSED = dict.fromkeys(("zero_shot", "linear", "mil"), NO_TEXT_TOWER)


def table(seed: int, alarms: float) -> Predictions:
    """Predictions of 12 videos, half of them anomalous; a part of the normal frames scores high."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(VIDEOS) % 2 == 0, 10)[:, None]
    scores = np.where(truth[:, 0] | (rng.random(len(truth)) < alarms), 0.9, 0.1) - 0.05 * rng.random(len(truth))
    return in_memory(
        offsets=np.arange(VIDEOS + 1) * 10, scores=scores.astype(np.float32), truth=truth, label_classes=("Arson",),
        probabilities=np.column_stack([scores, 1 - scores]).astype(np.float32), classes=("Arson", "Normal"),
    )  # fmt: skip


def alarm_rate(found: Table) -> Estimate:
    """False alarms per hundred normal frames, with bounds of its own."""
    p = found.predictions
    alarms = np.add.reduceat((p.scores > 0.5) & ~p.anomalous, p.offsets[:-1], dtype=np.float64) * 100
    left_out = (alarms.sum() - alarms) / (len(p.scores) / 2)
    value = float(alarms.sum() / (len(p.scores) / 2))
    return Estimate(value, Interval(value / 2, value * 2), Replicates(value, left_out, VIDEOS))


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Figure]:
    """One more figure, of which less is better."""
    figure = Figure("alarm_rate", "false alarms", "frame", alarm_rate, better="lower", unit="per 100", headline=True)
    monkeypatch.setitem(FIGURES, figure.name, figure)
    yield figure


def test_a_declared_figure_is_in_metrics_results_tags_and_summary(
    declared: Figure, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = compute_metrics(table(0, 0.2))
    rate = metrics.value("alarm_rate")
    assert rate is not None
    flat = metrics.flat()
    assert [flat[name] for name in ("alarm_rate", "alarm_rate_low", "alarm_rate_high")] == [rate, rate / 2, rate * 2]
    assert summary_values(metrics)["alarm_rate"] == metrics.headline()["alarm_rate"] == rate
    assert summary_values(None)["alarm_rate"] is None
    with caplog.at_level(logging.INFO, "anomalyclip"):
        log_summary(metrics)
    assert f"false alarms (per 100)  {rate:.3f} ({rate / 2:.3f} to {rate * 2:.3f})" in caplog.text


def test_a_declared_figure_is_compared(declared: Figure) -> None:
    fewer, more = measure(table(0, 0.1)), measure(table(1, 0.4))
    comparison = compare_measured(fewer, more)
    found = comparison.figures["alarm_rate"]
    assert found and found.interval and found.better and found.interval.high < 0 and found.better > 0.975
    models = SideBySide(["more", "fewer"], [more, fewer], [comparison])
    assert flat_values(models)["B/alarm_rate_difference"] == found.value
    assert values(models)["differences"][0]["alarm_rate"]["high"] == found.interval.high
    assert values(models)["models"][1]["alarm_rate"]["value"] == fewer.metrics.value("alarm_rate")
    assert "| false alarms (per 100) |" in markdown(models)


def test_a_declared_figure_is_a_gate_if_the_policy_asks(declared: Figure, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("ceilings: {alarm_rate: 15}\nmargins: {alarm_rate: 5, class_auc: null}")
    policy = load_policy(tmp_path / "policy.yaml")
    fewer, more = table(0, 0.1), table(1, 0.4)
    ids = list(fewer.video_ids)
    gates = {gate.name: gate for gate in judge_figures(policy, ids, fewer, more, EXCUSED)}
    assert gates["alarm_rate"].passed and gates["alarm_rate"].says.endswith("≤ 15.0000")
    assert gates["delta_alarm_rate"].passed and "the upper bound < 5.0000" in gates["delta_alarm_rate"].says
    gates = {gate.name: gate for gate in judge_figures(policy, ids, more, fewer, EXCUSED)}
    assert not gates["alarm_rate"].passed and "is not ≤ 15.0000" in gates["alarm_rate"].says
    assert not gates["delta_alarm_rate"].passed
    asked = {gate.name for gate in judge_figures(Policy(), ids, fewer, more, EXCUSED)}
    assert not {"alarm_rate", "delta_alarm_rate"} & asked


def test_a_declared_class_figure_is_in_metrics_comparison_and_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASS_FIGURES, "again", ClassFigure("again", "again", "frame", class_auc, summary=True))
    a, b = table(0, 0.1), table(1, 0.4)
    assert compute_metrics(a).flat()["again/Arson"] == compute_metrics(a).flat()["auc/Arson"]
    assert compare(a, b).of_class["again"] == compare(a, b).of_class["auc"]
    models = SideBySide(["a", "b"], [measure(a), measure(b)], [compare(b, a)])
    assert "Arson" in values(models)["differences"][0]["class_again"] and "| again Arson |" in markdown(models)
    policy = Policy.model_validate({"margins": {"class_again": 0.01}})
    gates = {gate.name: gate.passed for gate in judge_figures(policy, list(a.video_ids), b, a, EXCUSED)}
    assert gates["class_again"] is gates["class_auc"] is False


def test_a_figure_without_direction_is_no_gate(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("floors: {youden_threshold: 1}")
    with pytest.raises(UsageError, match=r"unknown setting floors\.youden_threshold"):
        load_policy(tmp_path / "policy.yaml")
