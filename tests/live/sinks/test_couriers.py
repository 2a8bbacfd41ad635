import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anomalyclip.live.sinks.couriers import Courier, RefusedError, Sink, StandardOutput, UndeliveredError, drain
from anomalyclip.live.sinks.messages import Message, first_message
from anomalyclip.live.sinks.outbox import Outbox
from tests.receivers import wait_until


class Scripted:
    """A sink that fails as it is told, message after message."""

    name = key = "scripted"

    def __init__(self, *failures: Exception | None) -> None:
        self.sent: list[str] = []
        self._failures = list(failures)
        self.free = threading.Event()
        self.free.set()

    def open(self) -> None:
        pass

    def send(self, message: Message) -> None:
        self.free.wait()
        if self._failures and (failure := self._failures.pop(0)):
            raise failure
        self.sent.append(message.message)

    def close(self) -> None:
        self.sent.append("closed")


@contextmanager
def courier(folder: Path, sink: Sink) -> Iterator[tuple[Courier, Outbox]]:
    """A courier that is started, and stopped at the end."""
    outbox = Outbox(folder / "o", [sink.key])
    own = Courier(sink, outbox, longest_pause=0.02)
    own.start()
    yield own, outbox
    drain([own], 5)


def put(outbox: Outbox, *ids: str) -> None:
    for id in ids:
        outbox.put(first_message(id, "anomaly", "front", {}))


def test_a_message_that_was_not_taken_is_tried_again_before_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    sink = Scripted(None, UndeliveredError("no answer"), ValueError("a fault"), UndeliveredError("no answer"))
    with courier(tmp_path, sink) as (own, outbox):
        put(outbox, "a", "b", "c")
        wait_until(lambda: len(sink.sent) == 3)
    assert sink.sent == ["a/1", "b/1", "c/1", "closed"]
    assert (own.delivered, own.failures, outbox.depth(sink.key)) == (3, 3, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "scripted does not take messages, which wait for it: no answer",
        "scripted takes messages again, after 3 failures",
    ]


def test_a_refused_message_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Scripted(None, RefusedError("HTTP 400"))
    with courier(tmp_path, sink) as (own, outbox):
        put(outbox, "a", "b", "c")
        wait_until(lambda: len(sink.sent) == 2)
    assert (sink.sent, own.refused) == (["a/1", "c/1", "closed"], 1)
    assert "scripted refused message b/1: HTTP 400" in caplog.text


def test_at_the_end_what_waits_is_delivered(tmp_path: Path) -> None:
    sink = Scripted()
    sink.free.clear()
    with courier(tmp_path, sink) as (_, outbox):
        put(outbox, "a", "b")
        sink.free.set()
    assert sink.sent == ["a/1", "b/1", "closed"]


def test_a_sink_that_is_down_delays_neither_put_nor_end_and_keeps_its_messages(tmp_path: Path) -> None:
    sink = Scripted()
    sink.free.clear()
    outbox = Outbox(tmp_path / "o", [sink.key])
    own = Courier(sink, outbox)
    own.start()
    started = time.monotonic()
    put(outbox, *"abcdefgh")
    drain([own], 0.1)
    assert time.monotonic() - started < 1
    assert outbox.depth(sink.key) == 8
    sink.free.set()


def test_one_that_fails_at_the_end_is_not_tried_for_ever(tmp_path: Path) -> None:
    sink = Scripted(*[UndeliveredError("no")] * 1000)
    outbox = Outbox(tmp_path / "o", [sink.key])
    own = Courier(sink, outbox, longest_pause=60)
    put(outbox, "a")
    own.start()
    started = time.monotonic()
    drain([own], 10)
    assert time.monotonic() - started < 5
    assert (sink.sent, outbox.depth(sink.key)) == (["closed"], 1)


def test_standard_output_has_a_line_of_json_for_each_message() -> None:
    reader, writer = os.pipe()
    sink = StandardOutput(writer)
    for id in "ab":
        sink.send(first_message(id, "anomaly", "front", {"label": "Ünfall"}))
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [json.loads(line)["message"] for line in lines] == ["a/1", "b/1"]


def test_nobody_reading_standard_output_is_said_once_and_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink, message = StandardOutput(writer), first_message("a", "anomaly", "front", {})
    with pytest.raises(RefusedError, match="nobody reads it any more"):
        sink.send(message)
    sink.send(message)
    os.close(writer)
