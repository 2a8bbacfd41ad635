"""Parts of a video that verdicts give: labelled ones with context, and normal ones that are certain."""

from anomalyclip.events.review import parts_of
from anomalyclip.events.verdicts import Verdict
from tests.judged import verdict

Parts = list[tuple[int, int, tuple[str, ...]]]


def parts(frames: int, *verdicts: dict[str, object]) -> Parts:
    judged = [Verdict.model_validate(each) for each in verdicts]
    return [(part.first, part.last, part.labels) for part in parts_of(judged, frames)]


def test_a_false_alarm_gives_exactly_its_frames_as_normal() -> None:
    assert parts(1000, verdict("a", 100, 149, "false")) == [(100, 149, ())]


def test_a_true_event_gives_a_minute_around_it_within_the_video() -> None:
    assert parts(5000, verdict("a", 2000, 2049, "true")) == [(1400, 2649, ("Fighting",))]
    assert parts(300, verdict("a", 100, 149, "true", corrected_label="Arson")) == [(0, 299, ("Arson",))]


def test_unsure_gives_nothing() -> None:
    assert parts(1000, verdict("a", 100, 149, "unsure")) == []


def test_labelled_parts_that_touch_are_one_with_all_classes() -> None:
    events = [verdict("a", frame, frame + 9, "true", label=label) for frame, label in (
        (1000, "Fighting"), (2200, "Arson"), (2300, "Fighting"), (9000, "Arson"),
    )]  # fmt: skip
    assert parts(20000, *events) == [(400, 2909, ("Fighting", "Arson")), (8400, 9609, ("Arson",))]


def test_frames_that_a_true_event_shares_are_not_certain() -> None:
    true = verdict("a", 100, 149, "true")
    assert parts(150, true, verdict("a", 149, 149, "false"), verdict("a", 20, 99, "false")) == [
        (0, 149, ("Fighting",)), (20, 99, ()),
    ]  # fmt: skip


def test_false_alarms_that_overlap_are_one_part() -> None:
    assert parts(150, verdict("a", 10, 30, "false"), verdict("a", 20, 60, "false"), verdict("a", 80, 999, "false")) == [
        (10, 60, ()), (80, 149, ()),
    ]  # fmt: skip
