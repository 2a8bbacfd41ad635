"""A figure is declared once: one entry of the table, and every reader has it."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
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
from anomalyclip.events.detection import OperatingPoint
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
    line = rf"  false alarms \(per 100\) +{rate:.2f} \({rate / 2:.2f} to {rate * 2:.2f}\)\n"
    assert re.search(line, caplog.text)


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
    assert gates["alarm_rate"].passed and gates["alarm_rate"].says.endswith("(per 100) 15.000 ≤ 15.000")
    assert gates["delta_alarm_rate"].passed and "the upper bound < 5.0000" in gates["delta_alarm_rate"].says
    gates = {gate.name: gate for gate in judge_figures(policy, ids, more, fewer, EXCUSED)}
    assert not gates["alarm_rate"].passed and "is not ≤ 15.000" in gates["alarm_rate"].says
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


def with_events(seed: int, threshold: float = 0.5) -> Predictions:
    """The table with times and an operating point; anomalies end after 6 of 10 seconds."""
    found, times = table(seed, 0.2), np.tile(np.arange(10) * 1.0, VIDEOS)
    truth = found.truth & (times < 6)[:, None]
    return replace(found, truth=truth, times=times, operating=OperatingPoint(detection=threshold, alert=0.99))


def test_every_figure_keeps_what_it_declares() -> None:
    metrics = compute_metrics(with_events(0))
    for name, figure in FIGURES.items():
        estimate = metrics.figures[name]
        assert estimate is not None, name
        assert (estimate.replicates is not None) is figure.paired, name
        assert figure.unit or 0 <= estimate.value <= 1, name
        if estimate.interval:
            assert estimate.interval.low <= estimate.value <= estimate.interval.high, name


def test_figures_in_seconds_and_per_hour_are_compared_with_their_unit() -> None:
    first, second = measure(with_events(0)), measure(with_events(1, threshold=0.89))
    models = SideBySide(["a", "b"], [first, second], [compare_measured(second, first)])
    rates = [each.metrics.value("false_alarms_per_hour") for each in (first, second)]
    assert rates[0] and rates[0] > 100 > 10
    text = markdown(models)
    assert f"| false alarms (per hour) | {rates[0]:.1f} (" in text
    delay = compare_measured(second, first).figures["median_delay"]
    assert delay and delay.interval is None and "| median delay (s) |" in text and f"| {delay.value:+.3f} |" in text


def test_a_policy_bounds_every_figure_from_its_bad_side(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "floors: {auc: null, m_auc: null, event_f1_iou30: 0.9, vadclip_m_ap: 0}\n"
        "ceilings: {false_alarms_per_hour: 2000, median_delay: 0.5, delay_p95: 60}\n"
        "margins: {auc: null, m_auc: null, class_auc: null, false_alarms_per_hour: 5000, event_recall_iou10: 0}"
    )
    policy, table = load_policy(tmp_path / "policy.yaml"), with_events(0)
    gates = {gate.name: gate for gate in judge_figures(policy, list(table.video_ids), table, table, EXCUSED)}
    assert gates["false_alarms_per_hour"].passed and gates["false_alarms_per_hour"].figures["ceiling"] == 2000
    assert re.fullmatch(r"false alarms \(per hour\) \d{3}\.\d\d ≤ 2000\.0", gates["false_alarms_per_hour"].says)
    assert gates["delay_p95"].passed and gates["delay_p95"].says.startswith("95th percentile of delay (s) ")
    assert gates["delta_false_alarms_per_hour"].passed and not gates["delta_event_recall_iou10"].passed
    undefined = {gate.name: gate for gate in judge_figures(
        policy, list(table.video_ids), replace(table, operating=None), None, EXCUSED)}  # fmt: skip
    assert undefined["median_delay"].says == (
        "median delay (s) undefined: the model has no thresholds of events; "
        "set ceilings.median_delay to null to judge without it"
    )
    assert not undefined["median_delay"].passed and not undefined["event_f1_iou30"].passed


@pytest.mark.parametrize(
    "text, message",
    [
        ("floors: {false_alarms_per_hour: 1}", "unknown setting floors.false_alarms_per_hour; did you mean ceilings.f"),
        ("ceilings: {auc: 1}", "unknown setting ceilings.auc; did you mean floors.auc"),
        ("margins: {median_delay: 1}", "median_delay has no paired interval to judge a margin by: use ceilings.median"),
        ("margins: {standard_m_ap: 0.1}", "standard_m_ap has no paired interval to judge a margin by: use floors.stan"),
        ("ceilings: {false_alarms_per_hour: -1}", "ceilings.false_alarms_per_hour: Input should be greater than"),
    ],
)
def test_a_threshold_that_no_gate_can_use_is_refused_when_the_policy_is_read(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_policy(tmp_path / "policy.yaml")
