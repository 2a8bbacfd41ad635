"""What every run has in common: it is finished, started or resumed, and says where to look."""

import sys
from pathlib import Path

import pytest

from anomalyclip import cluster
from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError
from anomalyclip.job import Job
from anomalyclip.jobs.lifecycle import tracked, where_runs_are
from anomalyclip.runs import RunResult, find_run
from anomalyclip.storage import Storage
from anomalyclip.tracking import server


@pytest.fixture
def job(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose MLflow answers, and that must not come as far as to start Ray."""
    monkeypatch.setattr(server, "reach", lambda tracking_uri: None)
    monkeypatch.setattr(cluster, "connect", None)
    return Job(storage, RunConfig(), "mine", False, "sqlite:////none")


def test_a_run_that_another_process_works_on_is_refused_before_ray_starts(job: Job) -> None:
    run = find_run(job.storage, "runs", "mine", "", {})
    with run.exclusive(), pytest.raises(JobError, match=r"runs/mine: .* has worked on it since"), tracked(job, run):
        pass
    assert job.storage.list(run.key) == []


def test_a_run_that_another_process_has_just_finished_is_not_done_again(job: Job) -> None:
    run = find_run(job.storage, "runs", "mine", "", {})
    run.finish(RunResult(run="mine", run_id="1", paths={}, tracking_uri=""))
    with pytest.raises(JobError, match="runs/mine was finished by another process just now"), tracked(job, run):
        pass
    assert job.storage.list(run.key) == ["result.json"]


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
