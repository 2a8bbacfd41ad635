"""A station: some of the cameras, watched in a process elsewhere, which reports what happens piece by piece."""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalyclip.live.announcer import Announcer
from anomalyclip.live.evidence import CLIPS, PICTURES, Evidence
from anomalyclip.live.figures import Note, NotedMetrics
from anomalyclip.live.sinks.messages import Message
from anomalyclip.live.watch import Camera, Model, Watch
from anomalyclip.storage import whole_file

log = logging.getLogger("anomalyclip")

MOST_LINES = 1000
"""Lines of the log that wait to be reported; more mean that nobody asks."""
TAKEN = "taken"
"""Name of a file that is being reported."""


@dataclass(frozen=True)
class Report:
    """What happened at a station since the report before."""

    number: int
    """From 1."""
    messages: tuple[Message, ...]
    notes: tuple[Note, ...]
    """For the metrics."""
    lines: tuple[tuple[int, str], ...]
    """Of the log, with their levels."""
    turned: bool
    """Whether the loop has turned since."""
    file: tuple[str, bytes] | None
    """A finished clip or picture: its name below the folder of the results, and its content."""
    frames: int
    dropped: int
    """Frames that were scored and dropped since the station's start."""
    failed: tuple[str, ...]
    """Files that could not be read to their end, with the reason."""
    ended: bool
    """Whether all sources have ended, and all was reported."""


class Station:
    """Watches cameras in a thread; the methods are called by another one.

    A report is given again until the next one is asked for, so that none is lost on the way.

    Args:
        cameras: by name, started already.
        model: that scores them first.
        folder: for clips and pictures until they are reported.
    """

    def __init__(self, cameras: Mapping[str, Camera], model: Model, folder: Path) -> None:
        self._folder, self._messages, self._metrics, self._lines = folder, _Messages(), NotedMetrics(), _Lines()
        log.addHandler(self._lines)
        announcer = Announcer(self._messages, Evidence(folder), self._metrics)
        self._watch = Watch(cameras, model, announcer, self._metrics)
        self._stop = threading.Event()
        self._given: Report | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None
        self._thread.start()

    def report(self, number: int) -> Report:
        """Return the report with this number; raises what ended the watch, if it was an error."""
        if self._given is None or self._given.number < number:
            self._given = self._made(number)
        return self._given

    def take_over(self, model: Model) -> None:
        """Score with another model from the next frames on."""
        self._watch.take_over(model)

    def stop(self) -> None:
        """End all events and close the cameras; what is left is reported."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self._watch.run(self._stop)
        except BaseException as error:
            self._error = error

    def _made(self, number: int) -> Report:
        over = not self._thread.is_alive()  # before the rest is looked at: nothing comes after it
        if over:
            log.removeHandler(self._lines)
        if over and self._error:
            raise self._error
        messages, file = self._messages.take(), self._finished_file()
        ended, watch = over and not messages and file is None, self._watch
        return Report(
            number, messages, self._metrics.take(), self._lines.take(), self._metrics.take_turned(),
            file, watch.frames, watch.dropped, tuple(watch.failed), ended,
        )  # fmt: skip

    def _finished_file(self) -> tuple[str, bytes] | None:
        """Take one file away; reports with several would be large."""
        for kind in (CLIPS, PICTURES):
            for path in sorted((self._folder / kind).iterdir()):
                if path.suffix != ".partial":
                    taken = path.rename(self._folder / TAKEN)  # a newer picture may take its place at any time
                    return f"{kind}/{path.name}", taken.read_bytes()
        return None


class _Lines(logging.Handler):
    """Lines of the log until they are reported: what a process of the cluster logs itself, nobody reads."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines = deque[tuple[int, str]](maxlen=MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelno, record.getMessage()))

    def take(self) -> tuple[tuple[int, str], ...]:
        return tuple(self._lines.popleft() for _ in range(len(self._lines)))


class _Messages:
    """Messages until they are reported; the outbox is elsewhere."""

    def __init__(self) -> None:
        self._messages = deque[Message]()

    def put(self, message: Message) -> None:
        self._messages.append(message)

    def open_events(self) -> Sequence[Message]:
        return ()

    def take(self) -> tuple[Message, ...]:
        return tuple(self._messages.popleft() for _ in range(len(self._messages)))


def keep_file(folder: Path, file: tuple[str, bytes]) -> None:
    """Write a reported file, whole, into the folder of the results."""
    name, content = file
    with whole_file(folder / name) as partial:
        partial.write_bytes(content)
