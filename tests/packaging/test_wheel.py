"""The wheel: what is in it, and that it works on a machine without the checkout."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from anomalyclip.__main__ import commands

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "anomalyclip", "tuning", "workflows")
DRAW = """
from anomalyclip.benchmark.footage.videos import Size, draw_benchmark
draw_benchmark("videos", {"train": Size(2, 0)}, processes=1)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that nothing of an earlier build slips in."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (source := ROOT / name).is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    pip("wheel", str(copy), "--no-build-isolation", "--wheel-dir", str(copy / "dist"))
    (built,) = (copy / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", str(wheel), "--target", str(target))
    return target


def pip(command: str, *arguments: str) -> None:
    line = [sys.executable, "-m", "pip", command, "--no-deps", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(line, check=True, timeout=120)


def run(installed: Path, folder: Path, *line: str) -> str:
    """Run a command in `folder` as a user of the installed package would; returns its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "ANOMALYCLIP_STORAGE": str(folder / "storage")}
    done = subprocess.run(line, cwd=folder, env=environment, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder, followlinks=True):
        if not parent.endswith("__pycache__"):
            yield from (str((Path(parent) / name).relative_to(ROOT)) for name in names)


def test_the_wheel_has_one_top_level_name_and_all_files_of_the_package(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.partition("/")[0] for name in names}
    assert top == {"anomalyclip", next(name for name in top if name.endswith(".dist-info"))}
    assert {name for name in names if name.startswith("anomalyclip/")} == set(files_below(ROOT / "anomalyclip"))


def test_the_console_command_has_help_of_its_own_and_of_every_command(installed: Path, tmp_path: Path) -> None:
    program = str(installed / "bin" / "anomalyclip")
    shown = run(installed, tmp_path, program, "--help")
    assert all(f"\n  {name} " in shown for name in commands())
    assert "usage: anomalyclip train " in run(installed, tmp_path, program, "train", "--help")


def test_an_installed_package_draws_and_extracts_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, sys.executable, "-c", "import anomalyclip; print(anomalyclip.__file__)")
    assert where.strip() == str(installed / "anomalyclip" / "__init__.py")
    run(installed, tmp_path, sys.executable, "-c", DRAW)
    result = run(installed, tmp_path, str(installed / "bin" / "anomalyclip"), "extract", "videos/manifest.csv")
    assert json.loads(result)["extracted"] == 2
