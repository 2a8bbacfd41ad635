"""Units of systemd as systemd-analyze reads them, and the commands in them as their programs do."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import mlflow.cli
import pytest

from tests.infra.commands_of import check_command
from tests.infra.programs import INFRA

FOLDER = INFRA / "systemd"
UNITS = sorted(file.name for file in FOLDER.glob("*.*") if file.suffix in (".service", ".timer"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
PROGRAMS = "/opt/anomalyclip/.venv/bin/"
NO_SYSTEMD = "not checked: systemd-analyze is not here"


def analyze(folder: Path, *arguments: str) -> str:
    """Run systemd-analyze on units of a folder; returns what it objects to, empty if nothing."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip(NO_SYSTEMD)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}
    done = subprocess.run(
        [program, *arguments], env=environment, text=True, capture_output=True, cwd=folder, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), said
    return said


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A copy of the units whose programs exist: systemd looks for them."""
    folder = shutil.copytree(FOLDER, tmp_path / "units")
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace(PROGRAMS, f"{Path('/bin/true').parent}/true "))
    return folder


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_object(name: str, units: Path) -> None:
    assert analyze(units, "verify", f"./{name}") == ""


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("anomalyclip-ray-head.service", "Restart=always", "Restart=ever"),
        ("anomalyclip-ray-head.service", "ExecStart=", "ExecStarts="),
        ("anomalyclip-ray-worker.service", "TimeoutStopSec=120", "TimeoutStopSec=long"),
        ("anomalyclip-mlflow.service", "LoadCredential=", "LoadCredentials="),
        ("anomalyclip-champion.service", "[Service]", "[Server]"),
        ("anomalyclip-housekeeping.service", "Type=oneshot", "Type=once"),
        ("anomalyclip-housekeeping.timer", "OnCalendar=Sun 03:00", "OnCalendar=Sunny 03:00"),
        ("anomalyclip-.service.d/hardening.conf", "ProtectSystem=strict", "ProtectSystem=very"),
        ("anomalyclip-.service.d/hardening.conf", "NoNewPrivileges", "NoPrivileges"),
    ],
)
def test_systemd_objects_to_a_broken_copy(name: str, right: str, wrong: str, units: Path) -> None:
    broken = units / name
    broken.write_text(broken.read_text().replace(right, wrong, 1))
    unit = name if name in UNITS else SERVICES[0]
    assert broken.name in analyze(units, "verify", f"./{unit}")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_little(name: str, units: Path) -> None:
    said = analyze(units, "security", "--offline=true", "--no-pager", f"./{name}")
    level = re.search(r"exposure level for .*: ([\d.]+)", said)
    assert level, said
    assert float(level[1]) <= 2.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code
@pytest.mark.parametrize("name", SERVICES)
def test_every_command_has_the_options_that_it_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = re.search(rf"^ExecStart={PROGRAMS}(.+)$", (FOLDER / name).read_text(), re.MULTILINE)
    assert started
    match shlex.split(started[1]):
        case ["anomalyclip", *_]:
            check_command(started[1], monkeypatch)
        case ["mlflow", "server", *options]:
            mlflow.cli.server.make_context("mlflow server", options)
        case ["ray", "start", *options]:
            from ray.scripts.scripts import start

            start.make_context("ray start", options)
        case other:
            pytest.fail(f"{other} is not known")


def test_every_service_is_hardened_and_reads_the_environment() -> None:
    prefix = next(FOLDER.glob("*.service.d")).name.removesuffix(".service.d")
    assert [name for name in UNITS if not name.startswith(prefix)] == []


def test_the_environment_is_lines_that_systemd_reads() -> None:
    lines = (FOLDER / "environment.example").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"|#.*|[A-Z][A-Z0-9_]*=[^\s'\"]+", line)] == []
    used = {name for unit in UNITS for name in re.findall(r"\$\{(\w+)\}", (FOLDER / unit).read_text())}
    assert used <= {line.partition("=")[0] for line in lines}
