import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.drawn import draw_demo

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def drawn_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the drawn stand-in clips."""
    return draw_demo(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def storage_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage root for all jobs of the session, so that features are extracted once."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def start_job(storage_root: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command of `workflows/` in a process of its own, on a Ray of its own."""

    def start(command: str, *arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, str(ROOT / "workflows" / f"{command}.py"), *arguments, "--storage", str(storage_root)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
        return subprocess.Popen(
            line, env=environment, cwd=storage_root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


@pytest.fixture(scope="session")
def run_job(start_job: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, dict[str, Any] | None, str]]:
    """Run a command to its end; returns exit code, the JSON of its last line, and standard error."""

    def run(command: str, *arguments: str) -> tuple[int, dict[str, Any] | None, str]:
        process = start_job(command, *arguments)
        output, errors = process.communicate(timeout=600)
        return process.returncode, json.loads(output) if output.strip() else None, errors

    return run


@pytest.fixture(scope="session")
def options() -> Sequence[str]:
    """Settings of a small, quick training."""
    return [
        part
        for setting in (
            "training.epochs=6", "training.warmup_epochs=1", "training.learning_rate=1e-3", "training.batch_size=8",
            "model.embedding_dim=16", "model.heads=2",
        )
        for part in ("--set", setting)
    ]  # fmt: skip
