"""What the driver makes of the reports of stations, and of their loss; no Ray is started."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from anomalyclip.config import LiveConfig
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.live import ray_stations
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.cameras.sources import Source
from anomalyclip.live.evidence import CLIPS, Evidence
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.model_files import ModelFiles
from anomalyclip.live.ray_stations import Stations
from anomalyclip.live.sinks.messages import first_message
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.live.station import Report
from tests.live.test_announcer import told

LOST = ray.exceptions.ObjectLostError("ab" * 28, None, "")


def report(number: int, **fields: Any) -> Report:
    known = {"messages": (), "notes": (), "lines": (), "turned": True, "file": None, "frames": 1, "dropped": 0}
    return Report(number, **{**known, "failed": (), "ended": False, **fields})


class Site:
    """Stations that answer in turn with what is given to them, and with nothing more."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outbox, self.metrics = Outbox(folder / "o", ["stdout"]), Metrics(["front"])
        self.answers = list[Report | Exception]()
        self._folder = folder
        method = SimpleNamespace(remote=lambda *_: object())
        actor = SimpleNamespace(report=method, stop=method, take_over=method)
        monkeypatch.setattr(ray_stations, "_station", lambda *_: actor)
        monkeypatch.setattr(ray, "kill", lambda actor: None)
        monkeypatch.setattr(ray, "get", self._get)
        monkeypatch.setattr(ray, "wait", lambda asked, **_: (asked[: len(self.answers)], []))

    def stations(self, *answers: Report | Exception, number: int = 1) -> Stations:
        self.answers[:] = answers
        sources = [Source(name, "rtsp://h/x", "stream") for name in ("front", "yard")[:number]]
        model = ModelFiles("m", {}, str(self._folder), "", "float32", OperatingPoint(detection=0.5, alert=0.5))
        announcer = Announcer(self.outbox, Evidence(self._folder), self.metrics)
        return Stations(sources, number, model, LiveConfig(), 1, announcer, self._folder, self.metrics)

    def _get(self, reference: object) -> Report:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    own = Site(tmp_path, monkeypatch)
    yield own
    own.outbox.close()


def test_a_report_that_is_lost_with_its_machine_loses_the_station_and_not_the_watch(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    new = first_message("1-front", "anomaly", "front", {"severity": "alert"})
    stations = site.stations(report(1, messages=(new,)), LOST, report(1, ended=True))
    stations.run(threading.Event())
    ends = [(each["type"], each["reason"]) for each in told(site.outbox)]
    assert ends == [("new", None), ("end", "watch broke off")]
    assert stations.frames == 2 and "the station of front died" in caplog.text


def test_a_full_disk_costs_a_clip_and_what_stations_log_is_logged(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = (logging.WARNING, "source front: lost (Connection refused)")
    stations = site.stations(report(1, file=(f"{CLIPS}/a.mp4", b"clip"), lines=(line,)), report(2, ended=True))
    (tmp_path / CLIPS).rmdir()
    (tmp_path / CLIPS).touch()  # no file can be made below it
    stations.run(threading.Event())
    assert stations.frames == 1
    assert f"{CLIPS}/a.mp4 is lost: " in caplog.text and line[1] in caplog.text


def test_a_turn_is_over_when_all_stations_have_turned(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = list[None]()
    monkeypatch.setattr(site.metrics, "turned", lambda: turns.append(None))
    stations = site.stations(report(1), report(1), report(2), report(2, turned=False), number=2)
    for _ in range(4):
        stations._turn(replaced=True)
    assert len(turns) == 1  # one of them hangs


def test_a_station_that_was_never_heard_is_not_waited_for_at_the_end(site: Site) -> None:
    stations, stop = site.stations(), threading.Event()
    stop.set()
    began = time.monotonic()
    stations.run(stop)
    assert time.monotonic() - began < 10
