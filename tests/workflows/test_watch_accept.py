"""Four live cameras at once, with streams, a webhook and a broker that go away: ten minutes, and a short cut of it."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from tests.receivers import Broker, Hooks, Subscriber, broker, hooks, wait_until
from tests.streams import HttpServer, RtspServer, http_server, rtsp_server
from tests.watched import WatchRun, draw_video, watching, write_model

SPANS_EVERY = 8.0
STARVED = 0.1
"""Share of the time that the loop may wait for a core: then seconds say nothing of this program."""
STREAMS = ("rtsp", "http", "pictures")
NAMES = (*STREAMS, "file")


@dataclass(frozen=True)
class Course:
    """How long it goes on, and how long things are away, in seconds."""

    seconds: float
    stream_away: float
    webhook_away: float
    broker_away: float
    growth: float
    """Of memory, as a share of what it was in the second third of the time."""
    timely: float
    """Share of the frames whose score comes within 2 s; before a cut frames wait until the source counts as lost."""

    def spans(self) -> list[tuple[float, float]]:
        """Seconds of the video in which something happens."""
        return [(at, at + 2) for at in _range(4, self.seconds - 3, SPANS_EVERY)]


# a short course cannot tell a leak from memory that is still being filled
SUITE, WHOLE = Course(30, 2, 4, 6, 0.2, 0.95), Course(600, 8, 60, 10, 0.05, 0.99)


def _range(first: float, last: float, step: float) -> Iterator[float]:
    while first < last:
        yield first
        first += step


@dataclass
class Place:
    """All that takes part."""

    run: WatchRun
    rtsp: RtspServer
    http: HttpServer
    hooks: Hooks
    broker: Broker
    subscriber: Subscriber


def test_a_short_course(tmp_path: Path) -> None:
    _take(tmp_path, SUITE)


@pytest.mark.accept
def test_ten_minutes(tmp_path: Path) -> None:
    _take(tmp_path, WHOLE)


def _take(folder: Path, course: Course) -> None:
    video = draw_video(folder / "video.mp4", course.seconds, course.spans())
    pictures = draw_video(folder / "pictures.mkv", course.seconds, course.spans(), "mjpeg")
    model = write_model(folder / "model")
    with (
        rtsp_server(video) as rtsp, http_server(video) as http, http_server(pictures) as other,
        hooks() as hook, broker(folder) as own_broker,
    ):  # fmt: skip
        subscriber = Subscriber(own_broker.port)
        sources = [f"rtsp={rtsp.address()}", f"http={http.address('live.ts')}"]
        sources += [f"pictures={other.address('live.mjpeg')}", f"file={video}"]
        options = ["--threshold", "0.5", "--webhook", hook.url, "--mqtt", own_broker.url]
        with watching(folder, str(model), *sources, *options, settings={"live.lost_after": 1}) as run:
            wait_until(lambda: run.get("/healthz")[0] == 200, 120)
            place = Place(run, rtsp, http, hook, own_broker, subscriber)
            memory = _go_through(place, course)
            figures, starved = run.get("/metrics")[1], run.starved()
            assert run.end() == 143, run.errors.read_text()
            opened = {each["id"] for each in run.messages if each["type"] == "new"}
            assert {each["id"] for each in run.messages if each["type"] == "end"} == opened
            _check_sinks(place, run.errors)
            third = len(memory) // 3
            assert max(memory[-third:]) < (1 + course.growth) * max(memory[third : 2 * third]), memory
            if starved > STARVED:
                pytest.skip(f"all but times: others kept the cores busy for {starved:.0%} of the time")
            _check_figures(figures, course.timely)
            _check_events(run, course)


def _go_through(place: Place, course: Course) -> list[int]:
    """Cut, restart and wait until the time is over; returns the memory of all processes, second by second."""
    total, away = course.seconds, course.stream_away
    steps: list[tuple[float, Callable[[], None]]] = [
        (0.25 * total, place.hooks.down), (0.25 * total + course.webhook_away, place.hooks.up),
        (0.30 * total, place.rtsp.kill), (0.30 * total + away, place.rtsp.start),
        (0.45 * total, place.http.kill), (0.45 * total + away, place.http.start),
        (0.50 * total, place.broker.down), (0.50 * total + course.broker_away, place.broker.up),
        (0.65 * total, place.rtsp.kill), (0.65 * total + away, place.rtsp.start),
        (0.75 * total, place.http.kill), (0.75 * total + away, place.http.start),
    ]  # fmt: skip
    began, memory = time.monotonic(), list[int]()
    for at, step in [*sorted(steps, key=lambda each: each[0]), (total + 3, lambda: None)]:
        while (left := began + at - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            memory.append(_memory(place.run))
        step()
    return memory


def _memory(run: WatchRun) -> int:
    process, total = psutil.Process(run.process.pid), 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a file has come to its end
            total += each.memory_info().rss
    return total


def _check_figures(text: str, timely: float) -> None:
    for name in NAMES:
        buckets = re.findall(rf'delay_seconds_bucket\{{le="([\d.+Inf]+)",source="{name}"\}} (\S+)', text)
        counts = {limit: float(count) for limit, count in buckets}
        assert counts["2.0"] >= timely * counts["+Inf"] > 0, (name, counts)
        assert f'frames_dropped_total{{source="{name}"}} 0.0' in text
    failures = re.findall(r'sink_failures\{sink="(?:webhook|mqtt).*"\} (\S+)', text)
    assert len(failures) == 2 and min(map(float, failures)) > 0


def _check_events(run: WatchRun, course: Course) -> None:
    """Whatever lasted long enough between two cuts was found, and ended; the file was not cut."""
    found = [(each["after"]["start"], each["after"]["end"]) for each in run.of("anomaly", "end", "file")]
    assert len(found) == len(course.spans())
    for (start, end), (first, last) in zip(found, course.spans(), strict=True):
        assert abs(start - first) < 0.3 and abs(end - last) < 0.3
    for name in ("rtsp", "http"):
        assert len(run.of("sight", "end", name)) >= 2, run.messages
        starts = [_unix(each["after"]["clock_start"]) for each in run.of("anomaly", "end", name)]
        for began, lasted in _connections(run, name):
            expected = [began + first for first, _ in course.spans() if first + 1.5 < lasted]
            missing = [each for each in expected if not any(abs(each - start) < 1 for start in starts)]
            assert missing == [], (name, began, lasted, starts)


def _connections(run: WatchRun, name: str) -> Sequence[tuple[float, float]]:
    """Start (Unix time) of each connection, at which the video begins anew, and how long it lasted."""
    any_event = run.of("anomaly", "new", name)[0]["after"]
    starts = [_unix(any_event["clock_start"]) - any_event["start"]]
    lost = [each for each in run.of("sight", "end", name) if each["after"]["label"] == "camera lost"]
    starts += [_unix(each["after"]["clock_end"]) for each in lost]
    ends = [_unix(each["after"]["clock_start"]) - 1.5 for each in lost]
    return [(start, end - start) for start, end in zip(starts, ends, strict=False)]


def _check_sinks(place: Place, log: Path) -> None:
    """Every message on standard output has reached the webhook and the broker, in the same order."""
    told = [each["message"] for each in place.run.messages]
    assert len(told) == len(set(told)) > 10
    posted = [json.loads(body)["message"] for body in place.hooks.bodies]
    assert posted == told, log.read_text()
    topics = {f"anomalyclip/{name}/events" for name in NAMES}

    def published() -> list[str]:
        received = [json.loads(text)["message"] for topic, text in place.subscriber.messages if topic in topics]
        return list(dict.fromkeys(received))

    wait_until(lambda: len(published()) == len(told))
    assert published() == told
    place.subscriber.close()


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
