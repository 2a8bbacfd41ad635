"""What every run has in common: it is finished, started or resumed, and says where to look."""

import sys
from pathlib import Path

import pytest

from anomalyclip.jobs.lifecycle import where_runs_are


def test_the_command_to_see_the_runs_can_be_typed_as_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "mlflow"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert where_runs_are("sqlite:///m.db") == ".venv/bin/mlflow ui --backend-store-uri sqlite:///m.db"
    monkeypatch.setenv("PATH", str(program.parent))
    assert where_runs_are("sqlite:///m.db") == "mlflow ui --backend-store-uri sqlite:///m.db"
    assert where_runs_are("http://server") == "http://server"
