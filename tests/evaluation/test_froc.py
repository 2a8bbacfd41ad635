"""FROC: the same as finding the events anew at every threshold."""

from dataclasses import replace

import numpy as np
import pytest

from anomalyclip.config import EventsConfig
from anomalyclip.evaluation import froc as module
from anomalyclip.evaluation.event_table import EventTable, event_table
from anomalyclip.evaluation.froc import Froc, froc
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.events.detection import OperatingPoint
from tests.predicted import in_memory

SETTINGS = EventsConfig(smoothing=0.3, gap=0.4, shortest=0.2)
POINT = OperatingPoint(detection=0.5, alert=0.9, events=SETTINGS)


def table(scores: list[np.ndarray], truth: list[np.ndarray], point: OperatingPoint = POINT) -> Predictions:
    """Videos of 10 frames per second with these scores, and true frames."""
    joined, lengths = np.concatenate(scores).astype(np.float32), [len(each) for each in scores]
    return in_memory(
        offsets=np.cumsum([0, *lengths]), scores=joined, probabilities=np.column_stack([joined, 1 - joined]),
        truth=np.concatenate(truth)[:, None], label_classes=("Arson",), classes=("Arson", "Normal"),
        times=np.concatenate([np.arange(length) / 10 for length in lengths]), operating=point,
    )  # fmt: skip


def events_of(predictions: Predictions) -> EventTable:
    found = event_table(predictions)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def drawn() -> Predictions:
    rng = np.random.default_rng(0)
    scores, truth = [], []
    for video in range(12):
        walk = np.cumsum(rng.normal(size=150 + 10 * video))
        anomalous = np.zeros(len(walk), np.bool_)
        if video % 3:
            anomalous[30:60], anomalous[100 : 101 + video] = True, True
        scores.append(1 / (1 + np.exp(-(walk - walk.mean()) / walk.std() - anomalous)))
        truth.append(anomalous)
    return table(scores, truth)


def curve(predictions: Predictions) -> Froc:
    return froc(events_of(predictions).videos, SETTINGS)


def test_alarms_and_recall_are_those_of_the_events_at_each_threshold(
    drawn: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RATE", 1e9)
    found = curve(drawn)
    assert len(found.thresholds) > 50 and np.all(np.diff(found.thresholds) < 0)
    for threshold, alarms, touched in zip(found.thresholds, found.alarms, found.found, strict=True):
        point = replace_detection(threshold)
        videos = events_of(replace(drawn, operating=point)).videos
        assert alarms.tolist() == [video.false_alarms for video in videos]
        assert touched.tolist() == [len(video.delays()) for video in videos]
    assert not found.alarms[0].any() and not found.found[0].any()
    assert found.recalls()[-1] == 1 and np.all(np.diff(found.recalls()) >= 0)


def replace_detection(threshold: float) -> OperatingPoint:
    return POINT.model_copy(update={"detection": threshold, "alert": threshold})


def test_recall_at_a_rate_is_the_highest_with_no_more_false_alarms(drawn: Predictions) -> None:
    found = curve(drawn)
    hours = found.hours.sum()
    for alarms in (0, 1, 3):
        replicates = found.recall_at((alarms + 0.5) / hours)
        allowed = np.maximum.accumulate(found.alarms.sum(axis=1)) <= alarms
        assert replicates is not None and replicates.point == found.recalls()[allowed].max()
        assert found.recall_at(alarms / hours).point == replicates.point  # type: ignore[union-attr]


def test_an_event_that_swallows_the_whole_video_is_no_way_to_few_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RATE", 1e9)
    # three separate alarms at 0.9, one event at 0.4: the lower threshold must not count as better
    wave = np.where(np.arange(300) // 20 % 5 == 2, 0.9, 0.4)
    hidden = np.where(np.arange(300) < 30, 0.4, 0.1)
    found = curve(table([wave, hidden], [np.zeros(300, np.bool_), np.arange(300) < 30]))
    assert found.alarms.sum(axis=1)[:3].tolist() == [0, 3, 1]
    hour = found.hours.sum()
    assert found.rates()[:3].tolist() == pytest.approx([0, 3 / hour, 3 / hour])
    before, after = found.recall_at(2 / hour), found.recall_at(3 / hour)
    assert before is not None and after is not None and (before.point, after.point) == (0, 1)


def test_one_common_frame_is_enough_at_either_end() -> None:
    true, settings = np.arange(60) // 10 % 3 == 1, EventsConfig(smoothing=0, gap=0, shortest=0, leave=1)
    for first, last in ((5, 10), (19, 25), (35, 40), (20, 39)):
        high = np.where((np.arange(60) >= first) & (np.arange(60) <= last), 0.9, 0.1)
        found = froc(events_of(table([high], [true])).videos, settings)
        between = (first, last) == (20, 39)
        assert (found.alarms[1].tolist(), found.found[1].tolist()) == ([int(between)], [int(not between)])


def test_events_of_two_videos_never_merge() -> None:
    high, settings = np.full(20, 0.8), EventsConfig(smoothing=0, gap=100, shortest=0)
    videos = events_of(table([high, high], [np.zeros(20, np.bool_)] * 2)).videos
    assert froc(videos, settings).alarms[1].tolist() == [1, 1]


def test_the_curve_ends_where_nobody_looks(drawn: Predictions) -> None:
    found = curve(drawn)
    assert (found.rates() > module.MOST_RATE).sum() <= 1
