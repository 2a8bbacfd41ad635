"""Thresholds from normal footage: counts, exact Poisson bounds, and the choice of a threshold."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit
from scipy.stats import chi2, poisson

from anomalyclip.config import EventsConfig
from anomalyclip.errors import UsageError
from anomalyclip.events.alarms import MOST_THRESHOLDS, AlarmTable, count_alarms, load_alarms, rate_bound, save_alarms
from anomalyclip.events.detection import find_events
from anomalyclip.events.event import Track, even_edges

BARE = EventsConfig(smoothing=0, leave=1, gap=0, shortest=0, detections_per_hour=1200, alerts_per_hour=400)


def track(scores: list[float]) -> Track:
    values = np.array(scores)
    return Track("v", ("Arson", "Normal"), values, np.stack([values, 1 - values], axis=1), even_edges(len(scores), 1))


@pytest.fixture
def table() -> AlarmTable:
    """Nine seconds: 0, 1, 2 and 3 alarms at thresholds above 0.9, 0.9, 0.6 and 0.3."""
    found = count_alarms([track([0.1, 0.9, 0.1, 0.6, 0.1]), track([0.1, 0.3, 0.1, 0.1])], BARE, held_out=True)
    assert found is not None
    return found


@pytest.mark.parametrize("alarms", [0, 1, 7, 100])
def test_the_bound_is_the_exact_poisson_one(alarms: int) -> None:
    assert rate_bound(alarms, 2.5) == pytest.approx(chi2.ppf(0.95, 2 * (alarms + 1)) / 2 / 2.5)
    assert poisson.cdf(alarms, rate_bound(alarms, 2.5) * 2.5) == pytest.approx(0.05)


def test_no_alarm_in_h_hours_bounds_the_rate_at_three_per_h() -> None:
    assert rate_bound(0, 10) == pytest.approx(0.3, rel=0.01)


def test_alarms_are_the_events_of_normal_videos(table: AlarmTable) -> None:
    assert table.hours == pytest.approx(9 / 3600) and table.videos == 2
    assert table.thresholds[0] > 0.9 and table.thresholds[1:] == (0.9, 0.6, 0.3)
    assert table.alarms == (0, 1, 2, 3)  # at 0.1 each video is one event


def test_the_threshold_is_the_lowest_with_so_few_alarms(table: AlarmTable) -> None:
    assert table.choose(800).threshold == 0.6
    assert (table.choose(799).threshold, table.choose(799).alarms) == (0.9, 1)
    assert table.choose(0.01).threshold > 0.9


def test_the_threshold_keeps_to_the_rate_on_the_footage_it_comes_from() -> None:
    rng = np.random.default_rng(1)
    tracks = [track(expit(np.cumsum(rng.normal(0, 0.1, 3000))).tolist()) for _ in range(5)]
    settings = EventsConfig(smoothing=3, gap=2, shortest=2, detections_per_hour=5, alerts_per_hour=2)
    table = count_alarms(tracks, settings, held_out=True)
    assert table is not None
    events = [event for each in tracks for event in find_events(each, table.point())]
    assert len(events) == table.choose(5).alarms <= 5 * table.hours
    assert sum(event.severity == "alert" for event in events) <= len(events)


def test_hours_of_footage_give_nearly_as_many_alarms_as_are_asked_for() -> None:
    rng = np.random.default_rng(2)
    table = count_alarms([track(rng.random(3600).tolist()) for _ in range(24)], EventsConfig(), held_out=True)
    assert table is not None and len(table.thresholds) <= MOST_THRESHOLDS + 1
    for per_hour in (1, 10, 30, 100):
        assert 0.75 * 24 * per_hour <= table.choose(per_hour).alarms <= 24 * per_hour


def test_too_few_hours_are_said_to_vouch_for_nothing(table: AlarmTable) -> None:
    choice = table.choose(1)
    assert not choice.is_vouched_for and choice.bound == pytest.approx(1198, rel=0.001)
    assert "at most 1.2e+03 per hour, which cannot vouch for 1" in choice.sentence()
    assert "cannot" not in table.choose(4000).sentence()


def test_an_operating_point_has_both_thresholds(table: AlarmTable) -> None:
    assert (table.point().detection, table.point().alert) == (0.3, 0.9)
    assert (table.point(400).detection, table.point(400).alert) == (0.9, 0.9)


def test_a_score_of_one_leaves_no_threshold_without_alarms() -> None:
    table = count_alarms([track([1.0, 0.1])], BARE, held_out=False)
    assert table is not None and table.thresholds[0] == 1.0
    assert (table.choose(1).threshold, table.choose(1).alarms) == (1.0, 1)


def test_without_normal_videos_there_is_no_table() -> None:
    assert count_alarms([], BARE, held_out=True) is None


def test_many_thresholds_are_thinned_and_keep_the_highest() -> None:
    scores = np.random.default_rng(0).random(5000).tolist()
    table = count_alarms([track(scores)], BARE, held_out=True)
    assert table is not None and len(table.thresholds) <= 257
    assert list(table.thresholds) == sorted(table.thresholds, reverse=True)
    assert max(scores) in table.thresholds


def test_a_table_survives_its_file(table: AlarmTable, tmp_path: Path) -> None:
    assert load_alarms(tmp_path) is None
    save_alarms(tmp_path, table)
    assert load_alarms(tmp_path) == table
    (tmp_path / "alarms.json").write_text('{"hours": 1}')
    with pytest.raises(UsageError, match=r"alarms\.json is not a table of false alarms"):
        load_alarms(tmp_path)


def test_an_alert_is_a_detection_too() -> None:
    with pytest.raises(ValidationError, match="an alert is a detection too"):
        EventsConfig(detections_per_hour=1, alerts_per_hour=2)
