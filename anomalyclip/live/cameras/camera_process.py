"""The process of a camera: what it does for a `Camera`, and the words that both exchange."""

import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import NamedTuple

from anomalyclip.config import LiveConfig
from anomalyclip.data.decoder_process import bound_memory
from anomalyclip.live.cameras.receiver import Receiver
from anomalyclip.live.cameras.sources import Source
from anomalyclip.live.frames import SightChange

LAST_WORDS = 3.0
"""Seconds in which open clips are completed when the caller is gone."""


class Begin(NamedTuple):
    """The first message: what to receive."""

    source: Source
    settings: LiveConfig
    first_number: int
    latest: float | None
    """Monotonic time of the last frame of a process before this one."""
    timeout: float
    max_pixels: int


class Take(NamedTuple):
    """Asks for frames; those that were given before may be overwritten."""

    at_most: int


class Record(NamedTuple):
    """Begins the clip of an event."""

    event_id: str
    start: float
    target: Path


class Finish(NamedTuple):
    """Ends the clip of an event."""

    event_id: str
    end: float


class Picture(NamedTuple):
    """Asks for a picture of a moment."""

    time: float
    target: Path


class Stop(NamedTuple):
    """Ends the process."""


class Memory(NamedTuple):
    """New shared memory for uint8 frames; its file descriptor follows."""

    shape: tuple[int, ...]


class Given(NamedTuple):
    """The answer to Take."""

    slots: list[int]
    numbers: list[int]
    times: list[float]
    waiting: int
    dropped: int
    changes: tuple[SightChange, ...]
    latest: float
    """Monotonic time of the last frame that was received, or of the start."""
    ended: bool
    fault: str
    suffix: str
    done: list[Path]


def main() -> None:
    """Serve a camera; the argument is the file descriptor of the connection."""
    # these may reach the whole process group: the caller ends this process once its clips are whole
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    with suppress(EOFError, ConnectionError):
        begin = connection.recv()
        bound_memory(begin.max_pixels)
        receiver = Receiver(begin.source, begin.settings, begin.first_number, begin.max_pixels)
        receiver.latest = receiver.latest if begin.latest is None else begin.latest
        receiver.start()
        with suppress(EOFError, ConnectionError):
            _serve(connection, receiver, begin.timeout)
        receiver.recorder.close(LAST_WORDS)
    os._exit(0)  # beside a codec that hangs a process would live on


def _serve(connection: Connection, receiver: Receiver, timeout: float) -> None:
    while True:
        if connection.poll(1.0):
            message = connection.recv()
            if isinstance(message, Stop):
                return
            _answer(connection, receiver, message)
        if not receiver.ended and time.monotonic() - receiver.alive > timeout:
            os._exit(1)


def _answer(connection: Connection, receiver: Receiver, message: Take | Record | Finish | Picture) -> None:
    match message:
        case Take(at_most):
            _give(connection, receiver, at_most)
        case Record(event_id, start, target):
            receiver.recorder.record(event_id, start, target)
        case Finish(event_id, end):
            receiver.recorder.finish(event_id, end)
        case Picture(moment, target):
            receiver.recorder.picture(moment, target)


def _give(connection: Connection, receiver: Receiver, at_most: int) -> None:
    ended = receiver.ended  # before the frames are counted: the last one comes before the end
    batch = receiver.queue.take(at_most)
    if batch.memory is not None:
        connection.send(Memory(batch.shape))
        send_handle(connection, batch.memory, os.getppid())
        os.close(batch.memory)
    changes = tuple(receiver.changes.popleft() for _ in range(len(receiver.changes)))
    connection.send(
        Given(
            slots=[frame.slot for frame in batch.frames],
            numbers=[frame.number for frame in batch.frames],
            times=[frame.time for frame in batch.frames],
            waiting=batch.waiting,
            dropped=batch.dropped,
            changes=changes,
            latest=receiver.latest,
            ended=ended and not batch.waiting,
            fault=receiver.fault,
            suffix=receiver.suffix,
            done=receiver.recorder.done(),
        )
    )
