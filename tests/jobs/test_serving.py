"""A registered model is verified before a server starts on it, and the server ends with the command."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs import serving
from anomalyclip.runs import TENSORS
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from anomalyclip.tracking.serving import CURRENT, SERVED
from tests.registered import write_bundle


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job on a registry with the version `detector/1`, which is champion."""
    storage, uri = Storage(str(tmp_path / "root")), f"sqlite:///{tmp_path}/mlflow.db"
    with tracked_run(uri, storage, "tests", "a") as tracking:
        register_model(tracking, log_model(tracking, write_bundle(tmp_path / "bundle", 0)), "detector")
        tracking.client.set_registered_model_alias("detector", "champion", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    yield Job(storage, RunConfig(), None, False, uri)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_only_a_verified_copy_is_served(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[list[str], dict[str, str], dict[str, str]]] = []

    def run(command: list[str], environment: dict[str, str]) -> int:
        started.append((command, environment, json.loads((Path(environment[SERVED]) / CURRENT).read_text())))
        return 0

    monkeypatch.setattr(serving, "_run", run)
    assert serving.serve(job, "models:/detector@champion", "127.0.0.1", 5001, 2, 0) == 0
    ((command, environment, current),) = started
    assert current["version"] == "models:/detector/1"
    assert "served-" in current["copy"] and not Path(current["copy"]).exists()  # the copy goes with the server
    assert command[-6:] == ["--host", "127.0.0.1", "--port", "5001", "--workers", "2"]
    assert environment["ANOMALYCLIP_STORAGE"] == job.storage.root
    assert not [name for name in environment if name.startswith("MLFLOW_TRACKING_")]

    (tensors,) = Path(job.storage.path("mlflow/artifacts")).rglob(TENSORS)
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(UsageError, match=r"models:/detector/1 is refused: its files are not those"):
        serving.serve(job, "models:/detector@champion", "127.0.0.1", 5001, 1, 0)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("models:/detector/latest", "cannot be served: give models:/NAME/VERSION or"),
        ("/some/folder", "cannot be served: give models:/NAME/VERSION or"),
        ("models:/detector/2", "MLflow at sqlite.*not found"),
        ("models:/detector@candidate", "promote.py sets champion"),
    ],
)
def test_what_is_no_version_is_refused(job: Job, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        serving.serve(job, name, "127.0.0.1", 5001, 1, 0)


def test_the_servers_exit_code_is_passed_on() -> None:
    assert serving._run([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ)) == 3


def test_a_signal_ends_the_server_and_what_it_has_started(tmp_path: Path) -> None:
    """The server starts a process that opens a pipe: its end is seen when the last one of them is gone."""
    os.mkfifo(tmp_path / "pipe")
    below = f"pipe = open({str(tmp_path / 'pipe')!r}, 'w'); import time; time.sleep(60)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"

    def tell() -> None:
        with (tmp_path / "pipe").open() as pipe:
            os.kill(os.getpid(), signal.SIGTERM)
            pipe.read()

    before = signal.getsignal(signal.SIGTERM)
    teller = threading.Thread(target=tell)
    teller.start()
    assert serving._run([sys.executable, "-c", program], dict(os.environ)) == 128 + signal.SIGTERM
    teller.join(timeout=30)
    assert not teller.is_alive()
    assert signal.getsignal(signal.SIGTERM) == (signal.SIG_DFL if before is None else before)
