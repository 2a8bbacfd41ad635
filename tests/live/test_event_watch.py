"""Events of a stream: those of the whole video, told once each as they open, change and close."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyclip.config import EventsConfig
from anomalyclip.events.detection import OperatingPoint, find_events
from anomalyclip.events.event import Event, Track, frame_edges
from anomalyclip.live.changes import Change
from anomalyclip.live.event_watch import EventWatch
from anomalyclip.live.scorer import Scored

CLASSES = ("Arson", "Normal", "Riot")
NEW = ("dog", "fall")
PLAIN = EventsConfig(smoothing=0, leave=0.5, gap=0.5, shortest=0.5)
POINT = OperatingPoint(detection=0.5, alert=0.9, events=PLAIN)
# sums of sixty-fourths are exact in any order, and hundredths of a second have no near ties
SECONDS = st.sampled_from([0.5, 0.2, 0.1, 0.03, 0.0])


def scored(scores: list[float], start: float = 0.0, fps: float = 10, riot: float = 0.75, first: int = 0) -> Scored:
    values = np.array(scores, np.float32)
    probabilities = np.stack([values * (1 - riot), 1 - values, values * riot], axis=1)
    return Scored(np.arange(first, first + len(values)), start + np.arange(len(values)) / fps, values, probabilities)


def watched(watch: EventWatch, whole: Scored, pieces: list[int]) -> list[Change]:
    changes: list[Change] = []
    for low, high in zip([0, *pieces], [*pieces, len(whole.scores)], strict=True):
        changes += watch.push(Scored(*(column[low:high] for column in whole)))
    return changes + watch.close(np.inf)


def ended(changes: list[Change]) -> list[Event]:
    return [change.after for change in changes if change.kind == "end"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Scored, OperatingPoint, list[int], float]:
    # levels around the threshold and its half in turn, so that events have pauses, and pauses have something in them
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    runs = generator.integers(1, 12, draw(st.integers(1, 40)))
    values = (np.repeat(generator.choice([4, 12, 24, 40, 48, 60], len(runs)), runs) / 64).astype(np.float32)
    lengths = generator.integers(1, 9, len(values)) if draw(st.booleans()) else np.full(len(values), 4)
    riot = generator.choice([0, 0.25, 0.5, 1], len(values))
    # a new class that fits sometimes better than the trained ones, and one that never does
    new = values * generator.choice([0.125, 0.25, 0.875], len(values)), values / 16
    probabilities = np.stack([values * (1 - riot), 1 - values, values * riot, *new], axis=1).astype(np.float32)
    times = np.concatenate([[0], np.cumsum(lengths[:-1])]) / 100
    events = EventsConfig(
        smoothing=draw(SECONDS), leave=draw(st.sampled_from([0.25, 0.5, 1])), gap=draw(SECONDS), shortest=draw(SECONDS)
    )
    detection = draw(st.sampled_from([30, 40, 52])) / 64
    pieces = sorted(generator.integers(0, len(values), draw(st.integers(0, 4))).tolist())
    began = draw(st.sampled_from([0.0, 1024.0]))
    whole = Scored(np.arange(len(values)), began + times, values, probabilities)
    return whole, OperatingPoint(detection=detection, alert=detection + 0.1, events=events), pieces, began


@given(cases())
def test_all_frames_of_a_video_give_the_events_of_the_video(
    case: tuple[Scored, OperatingPoint, list[int], float],
) -> None:
    whole, point, pieces, began = case
    started = datetime.fromtimestamp(began, UTC)
    edges = frame_edges(whole.times - began)
    trained, new = np.split(whole.probabilities, [len(CLASSES)], axis=1)
    by_name = dict(zip(NEW, new.T, strict=True))
    expected = find_events(Track("door", CLASSES, whole.scores, trained, edges, started, by_name), point)
    changes = watched(EventWatch("door", CLASSES, point, began, NEW), whole, pieces)
    found = ended(changes)
    assert [_rounded(event) for event in found] == [_rounded(event) for event in expected]
    _check_story(changes)


def _rounded(event: Event) -> Event:
    shares = {name: round(share, 6) for name, share in event.new_shares.items()}
    numbers = {name: round(getattr(event, name), 6) for name in ("start", "end", "share", "peak", "mean")}
    return replace(event, **numbers, new_shares=shares)


def _check_story(changes: list[Change]) -> None:
    """Each event: new, then updates from what was told last, then its end; never two at a time."""
    told = defaultdict[str, list[Change]](list)
    for change in changes:
        told[change.id].append(change)
    assert [change.id for change in changes] == [key for key, each in told.items() for _ in each]
    for each in told.values():
        assert [change.kind for change in each] == ["new", *["update"] * (len(each) - 2), "end"]
        assert each[0].before == each[0].after
        assert all(later.before == earlier.after for earlier, later in pairwise(each))
        assert {change.after.start_frame for change in each} == {each[0].after.start_frame}


def test_an_event_is_new_when_it_has_lasted_and_ends_when_its_gap_has_passed() -> None:
    watch, told = EventWatch("door", CLASSES, POINT, 0), dict[str, int]()
    whole = scored([0.1] * 10 + [0.6] * 20 + [0.1] * 20)
    for frame in range(len(whole.scores)):
        for change in watch.push(Scored(*(column[frame : frame + 1] for column in whole))):
            told[change.kind] = frame
    # a frame's end is known when the next one comes, and its mean one frame later
    assert told == {"new": 16, "end": 30 + 5 + 2}


def test_its_severity_rises_and_it_is_updated_once_a_second_at_most() -> None:
    levels = [0.6] * 10 + [0.7, 0.8, 0.95] + [0.97] * 20 + [0.1] * 10
    changes = watched(EventWatch("door", CLASSES, POINT, 0), scored(levels), [])
    assert [(change.kind, change.after.severity) for change in changes] == [
        ("new", "detection"), ("update", "alert"), ("end", "alert"),
    ]  # fmt: skip
    assert changes[1].before.severity == "detection"
    assert changes[1].after.end - changes[0].after.end == pytest.approx(1.0)


def test_its_class_may_change() -> None:
    watch = EventWatch("door", CLASSES, POINT, 0)
    changes = watch.push(scored([0.6] * 10)) + watch.push(scored([0.6] * 30, 1.0, riot=0.1, first=10)) + watch.close(9)
    assert [(change.kind, change.after.label) for change in changes] == [
        ("new", "Riot"), ("update", "Arson"), ("end", "Arson"),
    ]  # fmt: skip


def test_ids_name_time_and_camera_and_differ_after_a_restart() -> None:
    began = 1_790_000_000.0
    first = watched(EventWatch("door", CLASSES, POINT, began), scored([0.6] * 10, began + 3), [])
    later = watched(EventWatch("door", CLASSES, POINT, began + 60), scored([0.6] * 10, began + 63), [])
    assert [change.id for change in first] == ["1790000003.000-door"] * 2
    assert {change.id for change in later} == {"1790000063.000-door"}
    assert first[0].after.clock_start == "2026-09-21T14:13:23.000+00:00"
    assert (first[0].after.video_id, first[0].after.start) == ("door", pytest.approx(3.0))


def test_a_source_that_is_lost_ends_its_event_and_starts_another_one_later() -> None:
    watch = EventWatch("door", CLASSES, POINT, 0)
    lost = watch.push(scored([0.6] * 10)) + watch.close(4.0)
    assert [change.kind for change in lost] == ["new", "end"]
    assert lost[1].after.end == pytest.approx(1.0)  # not the time at which the loss was noticed
    assert watch.close(5.0) == []
    again = watch.push(scored([0.6] * 10, 6.0, first=60)) + watch.close(7.0)
    assert [change.kind for change in again] == ["new", "end"] and again[0].id != lost[0].id


def test_frames_that_were_left_out_count_to_the_one_before() -> None:
    whole = scored([0.1] * 5 + [0.6] * 5 + [0.1] * 10)
    every = Scored(whole.numbers * 3, whole.times * 3, whole.scores, whole.probabilities)
    found = ended(watched(EventWatch("door", CLASSES, POINT, 0), every, []))
    assert [(event.start_frame, event.end_frame) for event in found] == [(15, 29)]


def test_memory_does_not_grow_with_an_event() -> None:
    watch = EventWatch("door", CLASSES, OperatingPoint(detection=0.5, alert=0.9), 0)
    watch.push(scored([0.6] * 5000, fps=25))
    assert len(watch._mean._frames) < 40


def test_a_clock_that_is_set_back_ends_what_is_open() -> None:
    watch = EventWatch("door", CLASSES, POINT, 0)
    changes = watch.push(scored([0.6] * 10, 7200.0)) + watch.push(scored([0.6] * 10, 3600.0, first=10))
    assert [change.kind for change in changes] == ["new", "end", "new"]
    assert changes[1].after.end == pytest.approx(7201.0)
    (last,) = watch.close(3700.0)
    assert (last.id, last.after.start_frame, last.after.end) == ("3600.000-door", 10, pytest.approx(3601.0))


def test_a_pause_counts_with_all_that_is_in_it() -> None:
    whole = scored([0.1] * 3 + [0.6] * 6 + [0.1, 0.4, 0.1] + [0.6] * 6 + [0.1] * 9)
    track = Track("door", CLASSES, whole.scores, whole.probabilities, frame_edges(whole.times))
    (expected,), (found,) = find_events(track, POINT), ended(watched(EventWatch("door", CLASSES, POINT, 0), whole, []))
    assert (found.start_frame, found.end_frame) == (3, 17)
    assert (found.mean, found.share) == (pytest.approx(expected.mean), pytest.approx(expected.share))
