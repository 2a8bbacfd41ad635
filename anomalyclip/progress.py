"""Progress of long work: bars on a terminal, a log line every few seconds elsewhere, and never silence for long."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from anomalyclip.redaction import redact

log = logging.getLogger("anomalyclip")

SILENCE_SECONDS = 4.0
"""Seconds without a line after which another one reports that work continues: no command is silent for over 5 s."""
LOOK_SECONDS = 0.5

_doing = [("prepare", time.monotonic())]
"""Current activities of the process with their start, the innermost last."""


class _LastLine(logging.Handler):
    """Remembers when the last line was logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.at = time.monotonic()


class _Formatter(logging.Formatter):
    """Formats lines and tracebacks without logins in addresses."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _TimeLeft(ProgressColumn):
    """The time left by the work itself, which knows more than a rate of steps."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("seconds_left")
        return Text("" if seconds is None else f"{timedelta(seconds=round(seconds))} left")


@dataclass(frozen=True)
class Bar:
    """Something that advances in steps; on a terminal a bar."""

    _progress: Progress
    _task: TaskID

    def update(self, done: int, text: str, seconds_left: float | None = None) -> None:
        """Show how many steps are done, a few words beside the bar, and the seconds left if they are known."""
        self._progress.update(self._task, completed=done, text=text, seconds_left=seconds_left)


@cache
def console() -> Console:
    """Return the one console, on standard error: bars and log lines must not write over each other."""
    return Console(stderr=True)


def handler() -> logging.Handler:
    """Return where log lines go: above the bars on a terminal, plain lines elsewhere."""
    if console().is_terminal:
        rich = RichHandler(
            console=console(),
            show_path=False,
            show_level=False,
            log_time_format="%H:%M:%S",
            highlighter=NullHighlighter(),
        )
        rich.setFormatter(_Formatter("%(mark)s%(message)s"))
        rich.addFilter(_mark)
        return rich
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(_Formatter("%(asctime)s %(mark)s%(message)s", datefmt="%H:%M:%S"))
    plain.addFilter(_mark)
    return plain


def _mark(record: logging.LogRecord) -> bool:
    """Let every record pass, and mark warnings for the handlers' formats."""
    record.mark = "warning: " if record.levelno >= logging.WARNING else ""
    return True


@contextmanager
def bar(total: int, unit: str) -> Iterator[Bar]:
    """Show the progress of so many steps while the block runs; nothing is drawn without a terminal."""
    columns = (
        TextColumn(unit),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(
        *columns, _TimeLeft(), console=console(), disable=not console().is_terminal, transient=True
    ) as progress:
        yield Bar(progress, progress.add_task(unit, total=total, text="", seconds_left=None))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Name what the process is doing while the block runs, for `watch` to show."""
    _doing.append((what, time.monotonic()))
    try:
        yield
    finally:
        _doing.pop()


@contextmanager
def waiting() -> Iterator[None]:
    """Show nothing while the block runs: it waits for others to ask for something, however long."""
    with working(""):
        yield


@contextmanager
def watch() -> Iterator[None]:
    """Show that work is going on while the block runs: a clock on a terminal, elsewhere a line after each silence."""
    last, stop = _LastLine(), threading.Event()
    log.addHandler(last)
    status = console().status("") if console().is_terminal else nullcontext()
    with status as shown:

        def look() -> None:
            while not stop.wait(LOOK_SECONDS):
                what, since = _doing[-1]
                line = f"{what}: {time.monotonic() - since:.0f} s so far" if what else ""
                if shown is not None:
                    shown.update(line)
                elif line and time.monotonic() - last.at >= SILENCE_SECONDS:
                    log.info("%s", line)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            log.removeHandler(last)
