"""What decoders open and connect to, as strace sees it."""

import re
import sys
from collections.abc import Collection
from pathlib import Path

from tests.chaos.processes import ROOT

CALLS = "open,openat,openat2,connect,socket,execve,clone,clone3,fork,vfork"
LINE = re.compile(r"(\d+) +(\w+)\((.*)")
OPENED = re.compile(r'"([^"]*)".*= \d+<([^<>]*)')
BORN = re.compile(r"= (\d+)$")
SYSTEM = ("/proc/", "/sys/", "/etc/", "/usr/", "/lib", "/dev/null", "/dev/urandom", "/root/.pyenv/", "/bin")
"""Where libraries and their settings lie."""
DECODER = "anomalyclip.data.decoder_process"


def traced(log: Path) -> list[str]:
    """Return what to put before a command, so that its calls and those of its descendants are kept."""
    return ["strace", "-f", "-qq", "-y", "--seccomp-bpf", "-s", "300", "-e", f"trace={CALLS}", "-o", str(log)]


def outside(log: Path, videos: Collection[str]) -> tuple[int, list[str]]:
    """Return how many decoders there were, and what they opened beside videos and libraries, a line each."""
    decoders, threads, strange = set[str](), set[str](), set[str]()
    for line in log.read_text(errors="replace").splitlines():
        if (found := LINE.match(line)) is None:
            continue
        process, call, rest = found.groups()
        if call == "execve":
            (decoders.add if DECODER in rest else decoders.discard)(process)
        elif process not in decoders | threads:
            continue
        elif call in ("clone", "clone3", "fork", "vfork"):
            if born := BORN.search(line):
                threads.add(born[1])
        elif call in ("connect", "socket"):
            strange.add(f"a decoder called {line[:300]}")
        elif names := OPENED.search(rest):  # as it was named, and as it is
            strange |= {f"a decoder opened {each}" for each in names.groups() if not _expected(each, videos)}
    return len(decoders), sorted(strange)


def _expected(name: str, videos: Collection[str]) -> bool:
    return name in videos or name.startswith((sys.prefix, str(ROOT), *SYSTEM))
