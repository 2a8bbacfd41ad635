import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anomalyclip.events.event import EVENTS, Event
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.changes import Change
from anomalyclip.live.evidence import Evidence
from anomalyclip.live.frames import SightChange
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.sinks.outbox import Outbox

EVENT = Event(
    "front", 10, 20, 1.0, 2.0, "2026-01-01T00:00:01", "2026-01-01T00:00:02", "Fire", 0.9, 0.5, 0.4, 15, "detection"
)
ALERT = replace(EVENT, severity="alert", peak=0.9, peak_frame=30, end=4.0)
BEGAN = 1000.0


class Recorder:
    """What a camera is asked for."""

    suffix = ".mkv"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def record(self, event_id: str, start: float, target: Path) -> None:
        self.asked.append(("record", event_id, start, f"{target.parent.name}/{target.name}"))

    def finish(self, event_id: str, end: float) -> None:
        self.asked.append(("finish", event_id, end))

    def picture(self, time: float, target: Path) -> None:
        self.asked.append(("picture", time, f"{target.parent.name}/{target.name}"))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    own = Outbox(tmp_path / "o", ["stdout"])
    yield own
    own.close()


@pytest.fixture
def announcer(tmp_path: Path, outbox: Outbox) -> Announcer:
    return Announcer(outbox, Evidence(tmp_path), Metrics(["front"]))


def told(outbox: Outbox) -> list[Mapping[str, Any]]:
    """Take all messages."""
    over, found = threading.Event(), []
    over.set()
    while waiting := outbox.wait("stdout", over):
        found.append(json.loads(waiting.message.as_json()))
        outbox.forget("stdout", waiting)
    return found


def test_an_event_is_told_with_the_fields_of_the_table_and_what_they_were_before(
    announcer: Announcer, outbox: Outbox
) -> None:
    camera = Recorder()
    announcer.change(camera, Change("new", "e", EVENT, EVENT), BEGAN, 1001.5)
    announcer.change(camera, Change("end", "e", EVENT, replace(EVENT, end=3.0)), BEGAN, 1001.5)
    new, end = told(outbox)
    assert set(new["after"]) == {*EVENTS.names(), "clip", "picture"}
    assert (new["type"], new["message"], new["before"], new["kind"]) == ("new", "e/1", new["after"], "anomaly")
    assert (end["before"], end["after"]["end"], end["reason"]) == (new["after"], 3.0, "over")
    assert (new["after"]["clip"], new["after"]["picture"], camera.asked) == (None, None, [])


def test_an_alert_has_a_clip_from_its_start_and_a_picture_of_its_peak(announcer: Announcer, outbox: Outbox) -> None:
    camera = Recorder()
    announcer.change(camera, Change("new", "e", EVENT, EVENT), BEGAN, 1001.5)
    announcer.change(camera, Change("update", "e", EVENT, ALERT), BEGAN, 1003.0)
    announcer.change(camera, Change("update", "e", ALERT, ALERT), BEGAN, 1003.0)
    announcer.change(camera, Change("end", "e", ALERT, ALERT), BEGAN, None)
    assert camera.asked == [
        ("record", "e", 1001.0, "clips/e.mkv"),
        ("picture", 1003.0, "pictures/e.jpg"),
        ("finish", "e", 1004.0),
    ]
    names = [(each["after"]["clip"], each["after"]["picture"]) for each in told(outbox)]
    assert names == [(None, None), *[("clips/e.mkv", "pictures/e.jpg")] * 3]
    assert (announcer.events, announcer.alerts) == (1, 1)


def test_a_camera_that_sees_nothing_is_an_event_of_its_own_kind(announcer: Announcer, outbox: Outbox) -> None:
    for sight, time in (("black", 1005.0), ("lost", 1007.5), ("ok", 1009.0)):
        announcer.sight("front", SightChange(sight, time), BEGAN)
    found = told(outbox)
    assert [(each["type"], each["after"]["label"]) for each in found] == [
        ("new", "camera black"), ("end", "camera black"), ("new", "camera lost"), ("end", "camera lost"),
    ]  # fmt: skip
    assert {(each["kind"], each["source"], each["after"]["severity"]) for each in found} == {
        ("sight", "front", "alert")
    }
    last = found[-1]["after"]
    assert (last["start"], last["end"], last["peak"], last["clock_end"]) == (
        7.5,
        9.0,
        None,
        "1970-01-01T00:16:49.000+00:00",
    )
    assert set(last) == {*EVENTS.names(), "clip", "picture"}
    assert len({each["message"] for each in found}) == 4


def test_what_a_killed_process_left_open_is_ended_and_unfinished_files_are_removed(
    announcer: Announcer, outbox: Outbox, tmp_path: Path
) -> None:
    announcer.change(Recorder(), Change("new", "e", ALERT, ALERT), BEGAN, 1003.0)
    announcer.sight("front", SightChange("lost", 1005.0), BEGAN)
    (tmp_path / "clips" / "e.mkv.partial").write_bytes(b"half")
    (tmp_path / "pictures" / "e.jpg").write_bytes(b"whole")
    told(outbox)
    again = Announcer(outbox, Evidence(tmp_path), Metrics(["front"]))
    assert again.settle() == 2
    ends = told(outbox)
    assert [(each["type"], each["reason"], each["message"].split("/")[1]) for each in ends] == [
        ("end", "watch broke off", "2")
    ] * 2
    files = [(each["after"]["clip"], each["after"]["picture"]) for each in ends]
    assert sorted(files, key=str) == [(None, "pictures/e.jpg"), (None, None)]
    assert again.settle() == 0
    assert list((tmp_path / "clips").iterdir()) == []


def test_a_full_disk_loses_messages_and_not_the_cameras(
    announcer: Announcer, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox._file.execute("PRAGMA max_page_count=1")
    for number in range(200):
        announcer.change(Recorder(), Change("new", str(number), EVENT, EVENT), BEGAN, None)
        announcer.change(Recorder(), Change("end", str(number), EVENT, EVENT), BEGAN, None)
    assert caplog.text.count("messages are lost: the outbox cannot be written") == 1
    assert announcer.events == 200
