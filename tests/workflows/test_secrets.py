"""A password in the address of the tracking server is in nothing that a job leaves behind."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers import mlflow_server

SECRET = "hunter2"


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[Path]:
    """Folder of all that a job and its tracking server write; Ray's paths must be short."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def files_with(secret: str, folder: Path) -> list[str]:
    """The files below a folder that hold a text, or have it in their name."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if secret in path.name or secret.encode() in path.read_bytes()]


@pytest.mark.cluster
def test_a_training_leaves_no_password_anywhere(
    left_behind: Path, drawn_manifest: Path, options: Sequence[str]
) -> None:
    for name in ("server", "ray", "scratch"):
        (left_behind / name).mkdir()
    with mlflow_server(left_behind / "server", f"sqlite:///{left_behind}/server/mlflow.db") as address:
        told = {
            **os.environ,
            "RAY_TMPDIR": str(left_behind / "ray"),
            "ANOMALYCLIP_SCRATCH": str(left_behind / "scratch"),
            "MLFLOW_TRACKING_URI": address.replace("//", f"//operator:{SECRET}@"),
        }
        done = subprocess.run(
            [sys.executable, str(ROOT / "workflows/train.py"), str(drawn_manifest), "--storage",
             str(left_behind / "storage"), *options, "--set", "training.epochs=2", "--set", "training.workers=2"],
            env=told, cwd=left_behind, text=True, capture_output=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["tracking_uri"] == address
    assert SECRET not in done.stdout + done.stderr
    assert files_with(address, left_behind / "storage") != []
    assert files_with(SECRET, left_behind) == []
