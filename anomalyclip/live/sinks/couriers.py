"""Sinks: where messages go, each in a thread of its own, in order, and again until they have arrived."""

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from anomalyclip.live.sinks.messages import Message
from anomalyclip.live.sinks.outbox import Outbox

log = logging.getLogger("anomalyclip")

LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""


class UndeliveredError(Exception):
    """A sink did not take a message; it is tried again."""


class RefusedError(Exception):
    """A sink will never take this message, but may take others."""


class Sink(Protocol):
    """What takes messages; its methods are called by one thread."""

    name: str
    """For logs and metrics; without login, path and token."""
    key: str
    """Of its queue in the outbox, the same at every start."""

    def open(self) -> None:
        """Begin, without waiting for anything."""

    def send(self, message: Message) -> None:
        """Deliver a message; returns once it has arrived. Raises UndeliveredError or RefusedError."""

    def close(self) -> None:
        """Say good-bye, in a second at most."""


class StandardOutput:
    """Messages as lines of JSON on a file, standard output."""

    name = key = "stdout"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def open(self) -> None:
        """Do nothing: it is open."""

    def send(self, message: Message) -> None:
        """Write a line."""
        line = f"{message.as_json()}\n".encode()
        try:
            # not through sys.stdout, whose lock a reader that does not read would hold at the end of the process
            while line:
                line = line[os.write(self._descriptor, line) :]
        except BrokenPipeError:
            # as Python's documentation has it: whatever else is written there must not fail at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._descriptor)
            raise RefusedError("nobody reads it any more; further messages are not written there") from None
        except OSError as error:
            raise UndeliveredError(str(error.strerror)) from None

    def close(self) -> None:
        """Do nothing: the result of the command follows."""


class Courier:
    """The thread that takes one sink's messages from the outbox to it."""

    def __init__(self, sink: Sink, outbox: Outbox, longest_pause: float = LONGEST_PAUSE) -> None:
        self.sink, self.delivered, self.failures, self.refused = sink, 0, 0, 0
        self._outbox, self._longest = outbox, longest_pause
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._failed = 0
        # a daemon: a sink that hangs must not keep the process from its end
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def tell_to_stop(self) -> None:
        """Stop once no message waits, or at the next failure."""
        self._stopping.set()
        self._outbox.wake()

    def join(self, seconds: float) -> None:
        """Wait for the thread to stop, for so long at most."""
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        self.sink.open()
        while not self._ended.is_set():
            try:
                self._deliver_next()
            except Exception as error:  # also one that nobody expected: it must not end the way of the other messages
                self._wait(error)
        self.sink.close()

    def _deliver_next(self) -> None:
        waiting = self._outbox.wait(self.sink.key, self._stopping)
        if waiting is None:
            return self._ended.set()
        try:
            self.sink.send(waiting.message)
        except RefusedError as error:
            self.refused += 1
            log.warning("%s refused message %s: %s", self.sink.name, waiting.message.message, error)
        self._outbox.forget(self.sink.key, waiting)
        self._succeeded()
        return None

    def _succeeded(self) -> None:
        self.delivered += 1
        if self._failed:
            log.info("%s takes messages again, after %d failures", self.sink.name, self._failed)
        self._failed = 0

    def _wait(self, error: Exception) -> None:
        """Wait after a failure; while it stops, there is no further attempt."""
        self.failures += 1
        self._failed += 1
        if self._failed == 1:
            what = str(error) if isinstance(error, UndeliveredError) else repr(error)
            log.warning("%s does not take messages, which wait for it: %s", self.sink.name, what)
        # jitter: receivers that come back must not meet all senders at once
        pause = min(self._longest, 2.0 ** min(self._failed - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._stopping.wait(pause):
            self._ended.set()


def drain(couriers: Sequence[Courier], seconds: float) -> None:
    """Let all couriers deliver what waits, for so long at most."""
    for courier in couriers:
        courier.tell_to_stop()
    until = time.monotonic() + seconds
    for courier in couriers:
        courier.join(until - time.monotonic())


def standard_output() -> StandardOutput:
    """Return standard output as a sink."""
    return StandardOutput(sys.stdout.fileno())
