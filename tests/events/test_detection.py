"""Events of scores over time: smoothing, hysteresis, merging, the shortest length, classes and severity."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from anomalyclip.config import EventsConfig
from anomalyclip.events.detection import OperatingPoint, find_events, find_spans, leaving, smooth
from anomalyclip.events.event import EVENTS, Event, Track, even_edges, events_of, events_table, frame_edges

CLASSES = ("Arson", "Normal", "Riot")
BARE = EventsConfig(smoothing=0, leave=1, gap=0, shortest=0)


def track(scores: list[float], fps: float = 10, **fields: Any) -> Track:
    values = np.array(scores, dtype=np.float32)
    probabilities = np.stack([values * 0.25, 1 - values, values * 0.75], axis=1)
    return Track("v", CLASSES, values, probabilities, even_edges(len(scores), fps), **fields)


def spans(scores: list[float], settings: EventsConfig, threshold: float = 0.8) -> list[list[int]]:
    return find_spans(np.array(scores), even_edges(len(scores), 10), threshold, settings).tolist()


def test_an_event_is_a_run_of_scores_from_the_threshold_up() -> None:
    assert spans([0.8, 0.9, 0.1, 0.79, 0.1, 0.8], BARE) == [[0, 1], [5, 5]]
    assert spans([0.1, 0.2], BARE) == []


def test_it_ends_where_the_odds_fall_below_their_share() -> None:
    settings = BARE.model_copy(update={"leave": 0.25})
    assert leaving(0.8, 0.25) == pytest.approx(0.5)  # odds 4 and 1
    assert spans([0.55, 0.7, 0.9, 0.51, 0.49, 0.6, 0.7], settings) == [[0, 3]]


def test_events_with_a_short_pause_are_one() -> None:
    scores = [0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9]
    assert spans(scores, BARE.model_copy(update={"gap": 0.25})) == [[0, 3], [7, 7]]


def test_short_events_are_dropped_after_merging() -> None:
    scores = [0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9]
    assert spans(scores, BARE.model_copy(update={"gap": 0.1, "shortest": 0.3})) == [[0, 2]]


def test_durations_are_seconds_whatever_the_frame_rate() -> None:
    settings = EventsConfig(smoothing=0.2, leave=0.5, gap=0.4, shortest=0.5)
    point = OperatingPoint(detection=0.6, alert=0.9, events=settings)
    scores = [0.0] * 20 + [1.0] * 10 + [0.0] * 3 + [1.0] * 6 + [0.0] * 20 + [1.0] * 3 + [0.0] * 10
    slow = find_events(track(scores, fps=10), point)
    fast = find_events(track(np.repeat(scores, 3).tolist(), fps=30), point)
    assert [(round(each.start, 1), round(each.end, 1)) for each in slow] == [(2.0, 3.9)]
    assert [(round(each.start, 1), round(each.end, 1)) for each in fast] == [(2.0, 3.9)]


def test_durations_of_exactly_the_bound_are_the_same_anywhere_in_the_video() -> None:
    settings = BARE.model_copy(update={"gap": 0.25, "shortest": 0.5})
    for start in range(500):  # at 12 frames per second, 6 frames last from 0.49999999999999994 s to 0.5 s and more
        scores = np.zeros(520)
        scores[start : start + 6] = 0.9
        assert len(find_spans(scores, even_edges(520, 12), 0.8, settings)) == 1, start
        scores[start + 9 : start + 12] = 0.9  # after a pause of 3 frames
        found = find_spans(scores, even_edges(520, 12), 0.8, settings).tolist()
        assert found == [[start, start + 11]], start


def test_frames_of_a_variable_rate_last_as_long_as_their_times_say() -> None:
    times = np.array([0.0, 1.0, 2.0, 2.1, 2.2, 2.3])
    edges = frame_edges(times)
    assert edges[-1] == pytest.approx(2.4)
    settings = BARE.model_copy(update={"shortest": 0.5})
    assert find_spans(np.array([0.9, 0.1, 0.1, 0.9, 0.9, 0.9]), edges, 0.8, settings).tolist() == [[0, 0]]


def test_smoothing_is_the_mean_over_the_window() -> None:
    scores = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(smooth(scores, even_edges(6, 10), 0.2), [0, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 0.5])
    np.testing.assert_array_equal(smooth(scores, even_edges(6, 10), 0.1), scores)
    long = np.random.default_rng(0).random(500).astype(np.float32)
    expected = [long[max(0, place - 5) : place + 6].mean(dtype=np.float64) for place in range(500)]
    np.testing.assert_allclose(smooth(long, even_edges(500, 30), 10 / 30), expected)


def test_an_event_has_class_share_peak_severity_and_clock() -> None:
    point = OperatingPoint(detection=0.5, alert=0.95, events=BARE)
    found = find_events(track([0.1, 0.6, 1.0, 0.1, 0.7], started=datetime(2026, 11, 26, 23, 59, 59)), point)
    assert found[0] == Event(
        "v", 1, 2, 0.1, pytest.approx(0.3), "2026-11-26T23:59:59.100", "2026-11-26T23:59:59.300",
        "Riot", pytest.approx(0.75), 1.0, pytest.approx(0.8), 2, "alert",
    )  # fmt: skip
    assert (found[1].severity, found[1].clock_end) == ("detection", "2026-11-26T23:59:59.500")
    assert find_events(track([0.6]), point)[0].clock_start is None


def test_events_survive_their_table() -> None:
    found = find_events(track([0.6, 0.1, 1.0]), OperatingPoint(detection=0.5, alert=0.95, events=BARE))
    table = events_table(found)
    assert table.schema == EVENTS and events_of(table) == found
    assert events_table([]).schema == EVENTS


def test_a_new_class_is_named_where_it_beats_every_trained_one_and_changes_nothing_else() -> None:
    """Shares of 0.25 and 0.75 are left to the trained ones; a new one with 0.45 leaves them 0.14 and 0.41."""
    point = OperatingPoint(detection=0.6, alert=0.9, events=BARE)
    scores = [0.1, 0.8, 0.8, 0.1]
    (plain,) = find_events(track(scores), point)
    for share, label in ((0.40, None), (0.45, "dog")):
        new = {"fire": np.array(scores) * 0.1, "dog": np.array(scores) * share}
        (event,) = find_events(track(scores, new=new), point)
        assert event.new_label == label
        assert event.new_shares == {"fire": pytest.approx(0.1), "dog": pytest.approx(share)}
        assert {**event.fields(), "new_label": None, "new_shares": {}} == asdict(plain)
    assert "new_label" not in plain.fields()


def test_a_table_has_columns_of_new_classes_only_if_they_were_asked_for() -> None:
    new = {"dog": np.array([0.1, 0.2])}
    found = find_events(track([0.8, 0.9], new=new), OperatingPoint(detection=0.6, alert=0.9, events=BARE))
    assert events_table([]).columns == list(EVENTS)
    assert events_table([], ["dog"]).columns == [*EVENTS, "new_label", "new_shares"]
    table = events_table(found, ["dog"])
    assert table["new_shares"].to_list() == [{"dog": pytest.approx(0.3 / 1.7)}]
