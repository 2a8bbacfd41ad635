import os
import signal
import threading
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks.messages import Message, first_message
from anomalyclip.live.sinks.outbox import Outbox

SINKS = ("stdout", "webhook x")


def message(number: int, id: str = "e") -> Message:
    first = first_message(id, "anomaly", "front", {"peak": 0.0})
    return first if number == 1 else Message("update", id, f"{id}/{number}", "anomaly", "front", first.time, {}, {})


def taken(outbox: Outbox, sink: str) -> list[str]:
    """Take all that waits for a sink."""
    over = threading.Event()
    over.set()
    found = []
    while waiting := outbox.wait(sink, over):
        found.append(waiting.message.message)
        outbox.forget(sink, waiting)
    return found


def test_each_sink_has_every_message_in_order_and_forgets_it_once_taken(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", SINKS)
    for number in (1, 2, 3):
        outbox.put(message(number))
    assert taken(outbox, "stdout") == ["e/1", "e/2", "e/3"]
    assert [outbox.depth(sink) for sink in SINKS] == [0, 3]
    outbox.put(message(4))
    assert taken(outbox, "stdout") == ["e/4"]
    assert taken(outbox, "webhook x") == ["e/1", "e/2", "e/3", "e/4"]


def test_a_full_queue_drops_its_oldest_and_counts_them(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", SINKS, at_most=3)
    for number in range(1, 6):
        outbox.put(message(number))
        if number == 4:
            assert taken(outbox, "stdout") == ["e/2", "e/3", "e/4"]
    assert taken(outbox, "webhook x") == ["e/3", "e/4", "e/5"]
    assert outbox.dropped == {"stdout": 1, "webhook x": 2}


def test_a_message_dropped_while_it_is_sent_is_no_error(tmp_path: Path) -> None:
    outbox, over = Outbox(tmp_path / "o", SINKS, at_most=1), threading.Event()
    outbox.put(message(1))
    sent = outbox.wait("stdout", over)
    outbox.put(message(2))
    assert sent is not None
    outbox.forget("stdout", sent)
    assert (outbox.depth("stdout"), taken(outbox, "stdout")) == (1, ["e/2"])


def test_events_are_open_until_their_end_is_in_the_queues(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", SINKS)
    for each in (message(1), message(1, "f"), message(2)):
        outbox.put(each)
    assert [each.message for each in outbox.open_events()] == ["e/2", "f/1"]
    outbox.put(message(2).followed_by("end", {}, "over"))
    assert [each.message for each in outbox.open_events()] == ["f/1"]


def test_a_process_that_is_killed_leaves_all_that_it_put(tmp_path: Path) -> None:
    if (pid := os.fork()) == 0:
        outbox = Outbox(tmp_path / "o", SINKS[:1])
        for id in "abc":
            outbox.put(message(1, id))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    outbox = Outbox(tmp_path / "o", SINKS)
    assert [each.id for each in outbox.open_events()] == ["a", "b", "c"]
    assert taken(outbox, "stdout") == ["a/1", "b/1", "c/1"]


def test_what_waits_for_a_sink_that_is_not_given_stays_until_it_is(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "o", SINKS)
    first.put(message(1))
    first.close()
    Outbox(tmp_path / "o", SINKS[:1]).close()
    assert taken(Outbox(tmp_path / "o", SINKS), "webhook x") == ["e/1"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"something else" * 100)
    with pytest.raises(UsageError, match=r"o cannot be used \(file is not a database\): move it away"):
        Outbox(tmp_path / "o", SINKS)


def test_a_disk_that_is_full_is_an_os_error_and_changes_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", SINKS)
    outbox.put(message(1))
    outbox._file.execute("PRAGMA max_page_count=1")
    with pytest.raises(OSError, match="the outbox cannot be written: database or disk is full"):
        for number in range(2, 200):
            outbox.put(message(number))
    waiting = outbox.depth("stdout")
    assert len(taken(outbox, "stdout")) == waiting
