"""Programs and schemas that own the formats of `infra/`."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
INFRA = ROOT / "infra"
SCHEMAS = ROOT.parent / "shared" / "kuberay"
"""KubeRay's own, beside the project where it is built."""


def program(name: str) -> str:
    """Return the path of a program, of the environment that runs the tests first."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: make setup installs it")
    return found


def faults(name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run a program that checks files; returns what it says, empty if it has nothing to object."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 0 or said, f"{name} failed and said nothing"
    return said if done.returncode else ""


@cache
def promtool() -> str | None:
    """Return the path of Prometheus' own checker: of the machine, else out of Debian's package; None without it."""
    if (found := shutil.which("promtool")) or not shutil.which("apt-get"):
        return found
    folder = Path(tempfile.mkdtemp(prefix="promtool-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fetch = "apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }"
    unpack = "dpkg-deb --extract prometheus_*.deb ."
    subprocess.run(["sh", "-c", f"{{ {fetch}; }} && {unpack}"], cwd=folder, capture_output=True, timeout=300)
    program = folder / "usr" / "bin" / "promtool"
    return str(program) if program.exists() else None
