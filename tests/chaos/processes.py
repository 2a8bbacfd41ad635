"""Processes of a command under test: its family, its victims by role, and their end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).parent.parent.parent
POLL_SECONDS = 0.05
GONE_SECONDS = 30.0
"""Time that the rest of a family gets to notice a death."""


def title(process: psutil.Process) -> str:
    """Return its command line, which Ray replaces by what a worker does; empty if it has ended."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


SERVANTS = re.compile(r"IDLE|Agent|_StatsActor")
"""Ray's own processes with the names of workers."""
ROLES: Mapping[str, Callable[[psutil.Process], bool]] = {
    "worker": lambda process: title(process).startswith("ray::") and not SERVANTS.search(title(process)),
    "decoder": lambda process: "anomalyclip.data.decoder_process import main" in title(process),
    "raylet": lambda process: process.name() == "raylet",
    "GCS": lambda process: process.name() == "gcs_server",
}
"""How a victim is known among the descendants of a command; `driver` is the command itself."""


@dataclass
class Job:
    """A command in a session of its own, whose descendants are remembered after it has died."""

    process: subprocess.Popen[str]
    output: IO[str]
    errors: IO[str]
    started: float = field(default_factory=time.monotonic)
    family: set[psutil.Process] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """Time since its start."""
        return time.monotonic() - self.started

    def look(self) -> set[psutil.Process]:
        """Return its living descendants, and remember them."""
        with suppress(psutil.NoSuchProcess):
            self.family.update(psutil.Process(self.process.pid).children(recursive=True))
        return {process for process in self.family if lives(process)}

    def victims(self, role: str) -> list[psutil.Process]:
        """Return the living processes of a role, the oldest first."""
        if role == "driver":
            return [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        found = [process for process in self.look() if _plays(process, role)]
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, None if it hangs; its descendants are looked up meanwhile."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.look()
            time.sleep(4 * POLL_SECONDS)
        return self.process.poll()

    def end(self) -> int:
        """Kill what is left of its family; returns how many there were."""
        left = self.look()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        psutil.wait_procs(left, timeout=GONE_SECONDS)
        return len(left)

    def said(self) -> str:
        """Return what it wrote to standard error."""
        return Path(self.errors.name).read_text(errors="replace")


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Job:
    """Start a Python program of this project; its output goes to files beside `log`."""
    output, errors = log.with_suffix(".out").open("w"), log.with_suffix(".err").open("w")
    line = [sys.executable, str(ROOT / command[0]), *command[1:]]
    told = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(
        line, stdout=output, stderr=errors, text=True, env=told, cwd=log.parent, start_new_session=True
    )
    return Job(process, output, errors)


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _plays(process: psutil.Process, role: str) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return ROLES[role](process)
    return False
