"""A station reports all that its watch does, once, whatever is lost on the way."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyclip.live.evidence import CLIPS
from anomalyclip.live.figures import tell_again
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.sinks.messages import Message
from anomalyclip.live.station import Report, Station, keep_file
from tests.live.test_watch import Camera, Site, levels, model, spans
from tests.receivers import wait_until

log = logging.getLogger("anomalyclip")

SEEN = levels((20, 40))


def reports(station: Station, each: Callable[[Report], None] = lambda report: None) -> list[Report]:
    """All reports of a station to its end; each is asked for twice, as after an answer that was lost."""
    found: list[Report] = []

    def ended() -> bool:
        report = station.report(len(found) + 1)
        assert station.report(len(found) + 1) is report
        each(report)
        found.append(report)
        return report.ended

    wait_until(ended)
    return found


def test_its_reports_hold_what_a_watch_here_tells(tmp_path: Path) -> None:
    here = Site(tmp_path, {"front": Camera(SEEN)}, model())
    here.watch.run(threading.Event())
    metrics, messages, before = Metrics(["front"]), list[Message](), len(log.handlers)
    station = Station({"front": Camera(SEEN)}, model(), tmp_path / "station")
    log.warning("a line")
    lines = list[tuple[int, str]]()
    for report in reports(station):
        lines += report.lines
        messages += report.messages
        tell_again(report.notes, metrics)
    told = [each for each in messages if each.type != "update"]
    assert spans([vars(each) for each in told]) == spans(here.told())
    assert (report.frames, report.dropped, report.failed) == (100, 0, ())
    assert (logging.WARNING, "a line") in lines and len(log.handlers) == before
    for line in ('frames_total{source="front"} 100.0', 'delay_seconds_count{source="front"} 100.0'):
        assert line in metrics.text().decode()


def test_a_finished_file_is_handed_over_once_and_an_unfinished_one_is_not(tmp_path: Path) -> None:
    station = Station({"front": Camera(SEEN, ends=False)}, model(), tmp_path / "station")
    (tmp_path / "station" / CLIPS / "a.mp4").write_bytes(b"a clip")
    (tmp_path / "station" / CLIPS / "b.mp4.partial").write_bytes(b"half")
    station.stop()
    files = [report.file for report in reports(station) if report.file]
    assert files == [("clips/a.mp4", b"a clip")]
    keep_file(tmp_path / "results", files[0])
    assert [path.name for path in (tmp_path / "results" / CLIPS).iterdir()] == ["a.mp4"]


def test_what_ends_the_watch_is_raised(tmp_path: Path) -> None:
    class Broken(Camera):
        def take(self, at_most: int) -> None:  # type: ignore[override]
            raise RuntimeError("it broke")

    station = Station({"front": Broken(SEEN)}, model(), tmp_path)
    with pytest.raises(RuntimeError, match="it broke"):
        reports(station)
