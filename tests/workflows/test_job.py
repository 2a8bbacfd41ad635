"""The main job submitted to a running cluster, from a fresh clone."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.accept
ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "RAY_AUTH_MODE": "token",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of its own, ended by its process group."""
    port = free_port()
    command = ["ray", "start", "--head", "--block", "--num-cpus=4", f"--port={free_port()}"]
    temporary = Path("/tmp") / f"ray-{port}"  # its sockets' paths must be short
    head = subprocess.Popen(
        [*command, f"--dashboard-port={port}", f"--temp-dir={temporary}"], env=ENVIRONMENT, start_new_session=True
    )
    yield f"http://127.0.0.1:{port}"
    os.killpg(head.pid, signal.SIGKILL)  # SIGTERM would wait for a cluster that is gone to drain
    head.wait(timeout=60)
    shutil.rmtree(temporary, ignore_errors=True)


def submit(dashboard: str, clone: Path, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    command = ["ray", "job", "submit", "--address", dashboard, "--runtime-env", "infra/runtime_env.yaml"]
    line = [*command, "--working-dir", ".", "--", "python", *entrypoint]
    for _ in range(30):  # jobs are taken some seconds after the head has started
        done = subprocess.run(line, cwd=clone, env=ENVIRONMENT, text=True, capture_output=True, timeout=300)
        if "submitted successfully" in done.stderr + done.stdout:
            break
    return done


def test_a_job_from_a_fresh_clone_leaves_its_results_in_the_storage_root(
    dashboard: str, drawn_manifest: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    storage = tmp_path / "root"
    arguments = ["--storage", str(storage), "--set", "training.epochs=2", "--set", "training.warmup_epochs=1"]
    done = submit(dashboard, clone, "workflows/train.py", str(drawn_manifest), "--name", "job", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((storage / "runs/job/result.json").read_text())
    assert json.dumps(result) in done.stdout
    assert result["model_version"] == "1"
    assert f"results: {storage / 'runs/job'}" in done.stdout + done.stderr

    refused = submit(dashboard, clone, "workflows/train.py", "--set", "training.epoch=2", *arguments)
    assert refused.returncode == 1
    assert "did you mean training.epochs?" in refused.stdout
