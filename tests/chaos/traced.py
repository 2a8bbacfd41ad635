"""What decoders open and connect to, as strace sees it."""

import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.chaos.processes import ROOT

OPENED = re.compile(r'open\w*\(.*"([^"]*)".*= \d+<([^<>]*)')
"""A file that was opened, as it was named and as it is."""
CALLED = re.compile(r"\b(connect|socket|execve)\(")
SYSTEM = ("/proc/", "/sys/", "/etc/", "/usr/", "/lib", "/dev/null", "/dev/urandom", "/root/.pyenv/", "/bin")
"""Where libraries and their settings lie."""


def traced(folder: Path) -> Mapping[str, str]:
    """Return the environment of a command whose decoders' calls are kept in a folder."""
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent / "traced_decoders"), str(ROOT)])
    return {"TRACED_CALLS": str(folder / "calls"), "PYTHONPATH": path}


def outside(folder: Path, videos: Collection[str]) -> tuple[int, list[str]]:
    """Return how many decoders there were, and what they opened beside videos and libraries, a line each."""
    logs, strange = list(folder.iterdir()), set[str]()
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            if CALLED.search(line):
                strange.add(f"a decoder called {line[:300]}")
            elif names := OPENED.search(line):
                strange |= {f"a decoder opened {each}" for each in names.groups() if not _expected(each, videos)}
    return len(logs), sorted(strange)


def _expected(name: str, videos: Collection[str]) -> bool:
    return name in videos or name.startswith((sys.prefix, str(ROOT), *SYSTEM))
