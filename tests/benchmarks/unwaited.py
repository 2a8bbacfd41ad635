"""CPU seconds of processes that nobody waits for, so that no parent is told: workers of Ray, below its `raylet`."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

EVERY = 0.2
"""Seconds between looks: what a process does after the last one is missed."""
KEEPER = "raylet"


class _Process(NamedTuple):
    parent: int
    name: str
    seconds: float


@contextmanager
def unwaited() -> Iterator[Callable[[], float]]:
    """Watch children of any `raylet` below this process; yields what returns their CPU seconds so far."""
    seconds, ended = dict[int, float](), threading.Event()

    def look() -> None:
        while not ended.wait(EVERY):
            seconds.update(_below_keepers(_processes()))

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield lambda: sum(seconds.values())
    finally:
        ended.set()
        watching.join()


def _below_keepers(found: dict[int, _Process]) -> dict[int, float]:
    return {
        pid: process.seconds
        for pid, process in found.items()
        if (parent := found.get(process.parent)) and parent.name == KEEPER and os.getpid() in _above(pid, found)
    }


def _above(pid: int, found: dict[int, _Process]) -> Iterator[int]:
    while pid in found:
        pid = found[pid].parent
        yield pid


def _processes() -> dict[int, _Process]:
    ticks, found = os.sysconf("SC_CLK_TCK"), dict[int, _Process]()
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = place.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        fields = tail.split()
        name = head.partition("(")[2]
        found[int(place.parent.name)] = _Process(int(fields[1]), name, (int(fields[11]) + int(fields[12])) / ticks)
    return found
