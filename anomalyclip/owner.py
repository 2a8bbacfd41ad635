"""The process that holds a lock: which one it is, and whether it still runs."""

import getpass
import os
import socket
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BOOT, _PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Owner:
    """A process that holds a lock; as JSON it is read on other machines."""

    by: str
    """The user."""
    host: str
    pid: int
    started: float
    """When the process started, in clock ticks since its machine did: process ids are used again."""
    token: str
    """Its own, unlike that of any other lock."""
    command: str = ""
    """Name of the command, without its arguments: they may hold a password."""
    machine: str = ""
    """The machine since its last start, and its process ids: containers have ids of their own, and may share a name."""

    def __str__(self) -> str:
        return f"{self.by} on {self.host} (process {self.pid}{f', {self.command}' if self.command else ''})"

    def is_here(self) -> bool:
        """Return whether its process id is one of this machine's, or of this container's."""
        return self.machine == _machine()

    def is_gone(self) -> bool:
        """Return whether this is a process of this machine that does not run any more."""
        return self.is_here() and _started(self.pid) != self.started


def this_process(by: str = "") -> Owner:
    """Return this process as the owner of a new lock, held by the user or in the name that is given."""
    pid, command = os.getpid(), Path(sys.argv[0]).name
    started = _started(pid)
    assert started is not None
    return Owner(by or _user(), socket.gethostname(), pid, started, uuid.uuid4().hex, command, _machine())


def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_PROCESSES.readlink()}"
    except OSError:  # not shown in some sandboxes
        return socket.gethostname()


def _started(pid: int) -> float | None:
    """Return when a process started, None if it does not run: one that was killed may wait to be collected."""
    # not by psutil, whose times change with the clock of the machine
    with suppress(OSError):
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else float(numbers[18])
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return str(os.getuid())
