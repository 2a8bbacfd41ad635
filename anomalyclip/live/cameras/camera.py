"""A camera: frames of a source from a process of its own, which is replaced when it dies or hangs."""

import signal
import subprocess
import time
from contextlib import suppress
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import numpy as np

from anomalyclip.config import LiveConfig
from anomalyclip.data.decoder import cause_of_death, child, shared_frames
from anomalyclip.data.frame_folder import Pixels
from anomalyclip.data.video import MAX_PIXELS
from anomalyclip.live.cameras import camera_process
from anomalyclip.live.cameras.camera_process import (
    LAST_WORDS,
    Begin,
    Finish,
    Given,
    Memory,
    Picture,
    Record,
    Stop,
    Take,
)
from anomalyclip.live.cameras.clips import partial_of
from anomalyclip.live.cameras.sight import SightWatch
from anomalyclip.live.cameras.sources import Source
from anomalyclip.live.frames import Taken

TIMEOUT = 30.0
"""Seconds without a sign of life after which a camera's process counts as hung; longer than connecting may take."""
WAIT = 0.02
"""Seconds that `take` waits for the process to answer."""
STARTUP = 10.0
"""Seconds that starting the process may take before the source counts as lost."""
LONGEST_PAUSE = 30.0
"""Seconds from the start of one process to the start of the next; the first is 1, and each twice the one before."""
NO_FRAMES: Pixels = np.empty((0, 0, 0, 3), np.uint8)


class Camera:
    """A source that is received, decoded and kept for a while by a process of its own; used by one thread.

    Frames wait in a bounded queue of that process. Clips and pictures are made there of the packets as they came, and
    appear under their name when they are whole. A source that is cut off is connected again for ever, a file is played
    once, at its own pace.
    """

    def __init__(
        self, source: Source, settings: LiveConfig, timeout: float = TIMEOUT, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.source = source
        self.suffix = ".mp4"
        """Of a clip's file; known when frames come."""
        self.fault = ""
        """Why the source cannot be received now, in words without addresses; empty if it can."""
        self._settings, self._timeout, self._max_pixels = settings, timeout, max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self._slots = NO_FRAMES
        self._sight = SightWatch(settings.lost_after)
        self._asked: float | None = None
        self._depth = 0
        self._next_number = 0
        self._latest = 0.0
        self._ended = False
        self._pause = 1.0
        self._started = 0.0
        self._requests = list[Record | Finish | Picture]()

    @property
    def depth(self) -> int:
        """Frames that wait to be taken."""
        return self._depth

    def start(self) -> None:
        """Start the process, which connects; returns at once."""
        self._launch(None)
        self._latest = self._started + STARTUP

    def take(self, at_most: int) -> Taken:
        """Return the oldest frames not yet taken, perhaps none, and what happened since the last call."""
        given = self._answer(at_most)
        now = time.monotonic()
        changes = given.changes if given else ()
        if not self._ended:
            changes = self._sight.changes(changes, now - self._latest, time.time())
        if given is None:
            return Taken(NO_FRAMES, np.empty(0, np.int64), np.empty(0), changes=changes, ended=self._ended)
        return Taken(
            self._frames(given.slots), np.asarray(given.numbers, np.int64), np.asarray(given.times, np.float64),
            given.dropped, changes, self._ended,
        )  # fmt: skip

    def record(self, event_id: str, start: float, target: Path) -> None:
        """Begin the clip of an event, `clip_before` seconds ahead of a Unix time; returns at once."""
        self._request(Record(event_id, start, target))

    def finish(self, event_id: str, end: float) -> None:
        """Let an event's clip end `clip_after` seconds after a Unix time, if it has not reached `clip_longest`."""
        if any(isinstance(each, Record) and each.event_id == event_id for each in self._requests):
            self._request(Finish(event_id, end))

    def picture(self, time: float, target: Path) -> None:
        """Write a JPEG of the frame at a Unix time, soon, or of the nearest that is still there."""
        self._request(Picture(time, target))

    def close(self) -> None:
        """End the process; open clips are completed with what is there."""
        if self._process is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._connection.send(Stop())
                self._process.wait(LAST_WORDS + 1)
            self._kill()
        self._clear_partials()

    def _answer(self, at_most: int) -> Given | None:
        """Ask the process for frames, and return its answer if there is one already."""
        if self._ended or not self._is_running():
            return None
        try:
            if self._asked is None:
                self._connection.send(Take(at_most))
                self._asked = time.monotonic()
            if not self._connection.poll(WAIT):
                if time.monotonic() - self._asked > self._timeout:
                    self._lose("its process hung")
                return None
            given = self._receive()
        except (EOFError, OSError):
            self._lose(None)
            return None
        self._learn(given)
        return given

    def _receive(self) -> Given:
        message = self._connection.recv()
        if isinstance(message, Memory):
            self._slots = shared_frames(recv_handle(self._connection), message.shape)
            message = self._connection.recv()
        given: Given = message
        return given

    def _learn(self, given: Given) -> None:
        self._asked = None
        self._depth, self._ended = given.waiting, given.ended
        self.fault, self.suffix = given.fault, given.suffix
        self._latest = given.latest
        if given.numbers:
            self._next_number = given.numbers[-1] + 1
            self._pause = 1.0
        if given.done:
            self._forget(set(given.done))

    def _frames(self, slots: list[int]) -> Pixels:
        if not slots:
            return NO_FRAMES
        first, count = slots[0], len(slots)
        if slots == list(range(first, first + count)):
            return self._slots[first : first + count]
        return self._slots[slots]

    def _is_running(self) -> bool:
        """Whether there is a process; one that was lost is replaced, after a pause."""
        if self._process is None and time.monotonic() - self._started >= self._pause:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            self._launch(self._latest)
        return self._process is not None

    def _launch(self, latest: float | None) -> None:
        self._started, self._asked = time.monotonic(), None
        try:
            self._process, self._connection = child(camera_process.__name__, self._max_pixels)
        except OSError as error:  # memory, processes or files are short; later there may be some again
            self.fault = f"its process cannot be started: {error.strerror}"
            return
        with suppress(OSError):
            self._connection.send(
                Begin(self.source, self._settings, self._next_number, latest, self._timeout, self._max_pixels)
            )
            for request in self._requests:
                self._connection.send(request)

    def _lose(self, reason: str | None) -> None:
        assert self._process is not None
        if reason is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            reason = f"its process died ({cause_of_death(self._process.poll() or 0)})"
        self._kill()
        self.fault, self._depth = reason, 0
        self._ended = self.source.kind == "file"  # from its start it would end in the same way

    def _kill(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _request(self, request: Record | Finish | Picture) -> None:
        self._requests.append(request)
        if self._process is not None:
            with suppress(OSError):  # a process that died is replaced by the next call of take
                self._connection.send(request)

    def _forget(self, done: set[Path]) -> None:
        ids = {each.event_id for each in self._requests if isinstance(each, Record) and each.target in done}
        self._requests = [
            each
            for each in self._requests
            if not (each.event_id in ids if isinstance(each, Record | Finish) else each.target in done)
        ]

    def _clear_partials(self) -> None:
        for request in self._requests:
            if isinstance(request, Record):
                partial_of(request.target).unlink(missing_ok=True)
