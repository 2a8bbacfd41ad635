"""Figures of events: hand-made cases, exact jackknife and Poisson intervals, and reasons if there are none."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from anomalyclip.config import EventsConfig
from anomalyclip.evaluation.declarations import Estimate, Table
from anomalyclip.evaluation.event_figures import found_events
from anomalyclip.evaluation.event_table import event_table
from anomalyclip.evaluation.figures import FIGURES
from anomalyclip.evaluation.intervals import poisson_interval
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.events.detection import OperatingPoint
from tests.predicted import in_memory

CLASSES = ("Arson", "Fighting", "Normal")
FRAMES, FPS = 100, 10.0
PLAIN = OperatingPoint(detection=0.5, alert=0.9, events=EventsConfig(smoothing=0, gap=0, shortest=0, leave=1))
Span = tuple[int, int, str]
"""First and last frame, and class."""


def events(*videos: tuple[Sequence[Span], Sequence[Span]], point: OperatingPoint = PLAIN) -> Predictions:
    """Videos of 10 s, each with its true and its predicted events."""
    truth = np.zeros((len(videos), FRAMES, 2), np.bool_)
    probabilities = np.tile(np.float32([0, 0, 1]), (len(videos), FRAMES, 1))
    for video, (true, predicted) in enumerate(videos):
        for first, last, name in true:
            truth[video, first : last + 1, CLASSES.index(name)] = True
        for first, last, name in predicted:
            probabilities[video, first : last + 1] = np.eye(3, dtype=np.float32)[CLASSES.index(name)]
    probabilities = probabilities.reshape(-1, 3)
    return in_memory(
        offsets=np.arange(len(videos) + 1) * FRAMES, scores=1 - probabilities[:, 2], probabilities=probabilities,
        truth=truth.reshape(-1, 2), label_classes=CLASSES[:2], classes=CLASSES,
        times=np.tile(np.arange(FRAMES) / FPS, len(videos)), operating=point,
    )  # fmt: skip


FIVE = events(
    ([(20, 39, "Arson")], [(25, 44, "Arson")]),  # IoU 15 / 25, half a second late
    ([], [(0, 9, "Arson")]),
    ([], []),
    ([(50, 59, "Fighting")], [(50, 54, "Arson"), (80, 84, "Fighting")]),  # IoU 5 / 10, of another class; a false alarm
    ([(10, 19, "Arson")], []),
)
HOURS = FRAMES / FPS / 3600


def estimate(table: Predictions, name: str) -> Estimate:
    found = FIGURES[name].compute(Table(table))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name, expected",
    [
        ("event_precision_iou50", 2 / 4),
        ("event_recall_iou50", 2 / 3),
        ("event_f1_iou50", 4 / 7),
        ("event_f1_iou10", 4 / 7),
        ("event_class_precision_iou30", 1 / 4),
        ("event_class_recall_iou30", 1 / 3),
        ("event_class_f1_iou30", 2 / 7),
        ("event_top1", 1 / 2),
        ("false_alarms_per_hour", 2 / (5 * HOURS)),
        ("normal_false_alarms_per_hour", 1 / (2 * HOURS)),
        ("median_delay", 0.25),
        ("delay_p95", 0.475),
        ("event_recall_at_0_1_per_hour", 0.0),
    ],
)
def test_five_videos_worked_by_hand(name: str, expected: float) -> None:
    assert estimate(FIVE, name).value == pytest.approx(expected)


def test_a_shorter_overlap_counts_at_a_lower_iou_alone() -> None:
    table = events(([(0, 9, "Arson")], [(0, 39, "Arson")]))  # IoU 0.25
    assert [estimate(table, f"event_recall_iou{iou}").value for iou in (10, 30, 50)] == [1, 0, 0]
    assert estimate(table, "event_precision_iou30").value == estimate(table, "event_f1_iou30").value == 0
    assert estimate(table, "false_alarms_per_hour").value == 0  # it overlaps a true frame


def test_true_events_are_runs_of_any_class_or_of_each_class() -> None:
    table = events(([(0, 19, "Arson"), (10, 29, "Fighting")], [(0, 29, "Fighting")]), ([(0, 99, "Arson")], []))
    found = event_table(table)
    assert found is not None
    assert [(each.first, each.last, each.labels) for each in found.videos[0].true] == [(0, 29, ("Arson", "Fighting"))]
    assert [(each.start, each.end, each.labels) for each in found.videos[0].true_of_class] == [
        (0, 2, ("Arson",)), (1, 3, ("Fighting",)),
    ]  # fmt: skip
    assert found.videos[1].true[0][:4] == (0, 99, 0.0, 10.0)
    assert estimate(table, "event_top1").value == 1  # either of its classes is right
    assert estimate(table, "event_class_precision_iou50").value == 1


def test_the_delay_is_zero_if_an_alarm_is_on_already_and_counts_from_the_first_one() -> None:
    early = events(([(20, 59, "Arson")], [(10, 24, "Arson"), (50, 59, "Arson")]))
    assert estimate(early, "median_delay").value == 0
    late = events(([(20, 59, "Arson")], [(0, 19, "Arson"), (30, 34, "Arson"), (50, 59, "Arson")]))
    assert estimate(late, "median_delay").value == pytest.approx(1.0)  # the one that ends at its start is none
    assert FIGURES["median_delay"].compute(Table(events(([(20, 59, "Arson")], [])))) is None


def test_confusion_counts_every_true_and_every_predicted_event() -> None:
    found = event_table(FIVE)
    assert found is not None and found.classes == ("Arson", "Fighting")
    assert found.confusion().tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    both = [(0, 59, "Arson"), (10, 19, "Fighting")]
    several = event_table(events((both, [(0, 59, "Fighting")]), (both, [(0, 59, "Arson")]), (both, [])))
    assert several is not None and several.confusion().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", [
    "event_precision_iou30", "event_recall_iou30", "event_f1_iou30", "event_class_f1_iou30", "event_top1",
    "false_alarms_per_hour", "normal_false_alarms_per_hour",
])  # fmt: skip
def test_leave_one_out_values_are_those_without_the_video(name: str) -> None:
    whole = estimate(FIVE, name)
    assert whole.replicates is not None
    for video in range(5):
        others = FIGURES[name].compute(Table(FIVE.select([at for at in range(5) if at != video])))
        assert others is not None
        assert whole.replicates.left_out[video] == pytest.approx(others.value)


def test_rates_have_the_exact_poisson_interval() -> None:
    for count, hours in ((0, 2.0), (1, 0.5), (7, 3.0), (400, 11.0)):
        found = poisson_interval(count, hours)
        low = chi2.ppf(0.025, 2 * count) / 2 / hours if count else 0.0
        assert (found.low, found.high) == pytest.approx((low, chi2.ppf(0.975, 2 * (count + 1)) / 2 / hours))
    assert estimate(FIVE, "false_alarms_per_hour").interval == poisson_interval(2, 5 * HOURS)
    assert estimate(FIVE, "normal_false_alarms_per_hour").interval == poisson_interval(1, 2 * HOURS)
    quiet = estimate(events(([], [])), "false_alarms_per_hour")
    assert quiet.value == 0 and quiet.interval == poisson_interval(0, HOURS)


def test_without_thresholds_or_times_the_text_says_why() -> None:
    figure = FIGURES["event_f1_iou30"]
    times = np.where(np.arange(len(FIVE.scores)) < FRAMES, np.nan, np.nan_to_num(FIVE.times))
    for table, why in (
        (replace(FIVE, operating=None), "the model has no thresholds of events"),
        (replace(FIVE, times=None), "the times of frames are unknown"),
        (replace(FIVE, times=times), "the times of frames are unknown"),
    ):
        metrics = compute_metrics(table)
        assert metrics.text(figure) == f"undefined: {why}"
        assert not {name for name in metrics.flat() if FIGURES.get(name) and FIGURES[name].level == "event"}
    known = np.arange(5) != 0
    unlocated = replace(FIVE, known=known, times=times)  # the one without times has no known truth either
    assert compute_metrics(unlocated).value("false_alarms_per_hour") == pytest.approx(2 / (4 * HOURS))


def test_videos_of_normal_footage_alone_have_false_alarms_only() -> None:
    metrics = compute_metrics(events(([], [(0, 9, "Arson")]), ([], [])))
    defined = {name for name, found in metrics.figures.items() if found and FIGURES[name].level == "event"}
    assert defined == {"false_alarms_per_hour", "normal_false_alarms_per_hour"}


def test_the_events_of_a_table_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table, calls = Table(FIVE), []
    monkeypatch.setattr("anomalyclip.evaluation.event_figures.event_table", lambda p: calls.append(p) or event_table(p))
    for figure in FIGURES.values():
        if figure.level == "event":
            figure.compute(table)
    assert len(calls) == 1 and table.once(found_events) is table.once(found_events)
