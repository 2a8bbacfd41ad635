"""Outbox: messages that wait for their sinks, and the events that are open, on disk.

A message goes to the queues of all sinks, and into the list of open events, in one transaction: whenever the process is
killed, either all of that has happened or nothing.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks.messages import Message

MOST_WAITING = 10_000
"""Messages that wait for a sink, about a kilobyte each; when more come, the oldest are dropped."""
_TABLES = """
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, message TEXT);
CREATE INDEX IF NOT EXISTS of_sink ON waiting (sink, number);
CREATE TABLE IF NOT EXISTS open (id TEXT PRIMARY KEY, message TEXT);
"""
_DELETE_OLDEST = """
DELETE FROM waiting WHERE number IN (SELECT number FROM waiting WHERE sink = ? ORDER BY number LIMIT ?)
"""


class Waiting(NamedTuple):
    """A message that waits for a sink."""

    number: int
    message: Message


class Outbox:
    """The queues of some sinks, and the events that are open; threads may share it."""

    def __init__(self, path: Path, sinks: Sequence[str], at_most: int = MOST_WAITING) -> None:
        """Open the file, or create it; `sinks` are keys that name the same sink at every start.

        What waits for a sink that is not among them stays until that is given again. Raises UsageError if the file is
        damaged or is another one's.
        """
        self._sinks, self._at_most = tuple(sinks), at_most
        self._changed = threading.Condition()
        self.dropped = dict.fromkeys(sinks, 0)
        """Messages dropped since the start because too many waited, by sink."""
        try:
            self._file = sqlite3.connect(path, check_same_thread=False)
            # a commit is safe from a kill of this process; one of the last may be lost if the machine loses its power
            self._file.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
            )
            self._file.executescript(_TABLES)
            self._depths = {sink: self._count(sink) for sink in sinks}
        except sqlite3.Error as error:
            raise UsageError(f"{path} cannot be used ({error}): move it away, with the messages in it") from None

    def put(self, message: Message) -> None:
        """Add a message to every queue, and note whether its event is open; raises OSError if it cannot be written."""
        with self._changed:
            with self._writing():
                self._note(message)
                over = {sink: self._add(sink, message) for sink in self._sinks}
            for sink, count in over.items():
                self._depths[sink] += 1 - count
                self.dropped[sink] += count
            self._changed.notify_all()

    def wait(self, sink: str, over: threading.Event) -> Waiting | None:
        """Return the oldest message for a sink once there is one; None if there is none and it is `over`."""
        with self._changed:
            self._changed.wait_for(lambda: self._depths[sink] or over.is_set())
            query = "SELECT number, message FROM waiting WHERE sink = ? ORDER BY number LIMIT 1"
            row = self._file.execute(query, (sink,)).fetchone()
        return row and Waiting(row[0], Message.of_json(row[1]))

    def wake(self) -> None:
        """Let those that wait look again whether it is over."""
        with self._changed:
            self._changed.notify_all()

    def forget(self, sink: str, waiting: Waiting) -> None:
        """Remove a message that a sink has taken; it may have been dropped meanwhile. Raises OSError as `put` does."""
        with self._changed:
            with self._writing():
                found = self._file.execute("DELETE FROM waiting WHERE number = ?", (waiting.number,))
            self._depths[sink] -= found.rowcount

    def depth(self, sink: str) -> int:
        """Return how many messages wait for a sink."""
        return self._depths[sink]

    def open_events(self) -> list[Message]:
        """Return the last message of each event that has not ended, or whose end may not have reached the queues."""
        with self._changed:
            return [Message.of_json(text) for (text,) in self._file.execute("SELECT message FROM open ORDER BY id")]

    def close(self) -> None:
        """Close the file; nothing may use it any more."""
        with self._changed:
            self._file.close()

    def _note(self, message: Message) -> None:
        if message.type == "end":
            self._file.execute("DELETE FROM open WHERE id = ?", (message.id,))
        else:
            self._file.execute("INSERT OR REPLACE INTO open VALUES (?, ?)", (message.id, message.as_json()))

    def _add(self, sink: str, message: Message) -> int:
        """Add a message to a queue, and return how many of its oldest were dropped."""
        self._file.execute("INSERT INTO waiting (sink, message) VALUES (?, ?)", (sink, message.as_json()))
        over = self._depths[sink] + 1 - self._at_most
        return self._file.execute(_DELETE_OLDEST, (sink, max(0, over))).rowcount

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Run the block as one transaction."""
        try:
            with self._file:
                yield
        except sqlite3.Error as error:
            raise OSError(f"the outbox cannot be written: {error}") from error

    def _count(self, sink: str) -> int:
        return int(self._file.execute("SELECT count(*) FROM waiting WHERE sink = ?", (sink,)).fetchone()[0])
