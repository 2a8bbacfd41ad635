"""The trials of a job in MLflow and in its folder, without a cluster: started, ended, taken over, killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import polars as pl
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import JobError
from anomalyclip.runs import TRIALS_TABLE, RunFolder, RunKind, open_run
from anomalyclip.storage import Storage
from anomalyclip.tracking.runs import TrackedRun, tracked_run
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.tuning.scoring import score_validation
from anomalyclip.tuning.space import Point
from anomalyclip.tuning.trial_runs import TrialRuns
from anomalyclip.tuning.trials import Study, Trial, TrialResult

A, B = {"model.k": 1}, {"model.k": 2}
HISTORY = [{"epoch": 0.0, "learning_rate": 1e-4, "loss": 2.0, "val/video_auc": 0.75, "val/loss": 1.5}]
Follow = Callable[[], TrialRuns]


@pytest.fixture
def study(storage: Storage) -> Study:
    rows = [(f"v{n}", f"v{n}.mp4", "train", ["Fire"] if n % 2 else [], [], 9) for n in range(40)]
    base = FitPlan(RunConfig(), storage.root, "searches/s", ["Fire", "Normal"], (), (), "backbone", "features", {})
    manifest = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return Study(base, manifest, {"manifest": "m"}, "trials", score_validation)


@pytest.fixture
def parent(storage: Storage, tmp_path: Path) -> Iterator[TrackedRun]:
    with tracked_run(f"sqlite:///{tmp_path}/mlflow.db", storage, "experiment", "parent") as tracking:
        yield tracking


@pytest.fixture
def job(storage: Storage) -> RunFolder:
    return open_run(storage, RunKind.SEARCH, "s", "", {})


@pytest.fixture
def follow(parent: TrackedRun, job: RunFolder, study: Study) -> Follow:
    """Follow the trials as a new process of the same job does."""
    return lambda: TrialRuns(parent, job, study, lambda finished: [each.key for each in finished[:1]])


def run_of(parent: TrackedRun, runs: TrialRuns, point: Point) -> mlflow.entities.Run:
    experiment = parent.client.get_run(parent.run_id).info.experiment_id
    name = runs.trial(point).name
    (run,) = parent.client.search_runs([experiment], f"tags.mlflow.runName = '{name}'")
    return run


def train(runs: TrialRuns, point: Point) -> None:
    """Do what a process of the cluster does to the end of a trial."""
    runs.trial(point).folder.finish(TrialResult(HISTORY, {"auc": 0.5}))


def test_a_trial_is_opened_once(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Point] = []

    def spy(study: Study, point: Point) -> Trial:
        opened.append(point)
        return original(study, point)

    original = Study.trial
    monkeypatch.setattr(Study, "trial", spy)
    runs = follow()
    for point in (A, B):
        runs.take_over([point])
        runs.started(point)
        train(runs, point)
        runs.look()
        runs.ended(point)
    assert [each.state for each in runs.outcomes()] == ["finished", "finished"]
    assert opened == [A, B]


def test_a_finished_trial_has_its_figures_in_mlflow_and_in_the_table(
    follow: Follow, parent: TrackedRun, job: RunFolder
) -> None:
    runs = follow()
    runs.started(A)
    train(runs, A)
    runs.ended(A)
    run = run_of(parent, runs, A)
    assert (run.info.status, run.data.params["model.k"]) == ("FINISHED", "1")
    assert run.data.metrics == {
        "loss": 2.0, "learning_rate": 1e-4, "val/video_auc": 0.75, "val/loss": 1.5, "auc": 0.5, "best_epoch": 0.0,
        "best_video_auc": 0.75, "best_loss": 1.5,
    }  # fmt: skip
    row = job.storage.read_json(f"{job.key}/{TRIALS_TABLE}")[runs.trial(A).folder.name]
    assert (row["point"], row["run_id"], row["state"], row["epochs"]) == (A, run.info.run_id, "finished", 1)
    assert follow().outcomes() == runs.outcomes()


def test_a_killed_job_resumes_the_same_runs_and_takes_over_what_was_trained_to_the_end(
    follow: Follow, parent: TrackedRun
) -> None:
    killed = follow()
    killed.started(A)
    killed.started(B)
    train(killed, A)
    again = follow()
    again.take_over([A, B])
    assert (again.has_ended(A), again.has_ended(B)) == (True, False)
    assert "looked_up" not in run_of(parent, again, A).data.tags
    again.started(B)
    train(again, B)
    again.ended(B)
    assert run_of(parent, again, B).info.status == "FINISHED"
    assert again.points() == follow().points()
    assert sorted(point["model.k"] for point in again.points()) == [1, 2]


def test_what_another_job_trained_is_tagged(follow: Follow, parent: TrackedRun) -> None:
    runs = follow()
    train(runs, A)
    runs.take_over([A])
    run = run_of(parent, runs, A)
    assert (run.info.status, run.data.tags["looked_up"]) == ("FINISHED", "true")


def test_checkpoints_go_but_those_that_are_spared_and_those_of_failed_trials(follow: Follow) -> None:
    runs = follow()
    for point in (A, B, {"model.k": 3}):
        runs.started(point)
        folder = runs.trial(point).folder
        for part in ("checkpoints", "final/checkpoints"):
            folder.storage.write(f"{folder.key}/{part}/epoch-0000.json", b"")
    runs.failed({"model.k": 3}, "it broke")
    for point in (A, B):
        train(runs, point)
        runs.ended(point)

    def left(key: str) -> list[bool]:
        folder = f"trials/{key}"
        return [runs.trial(A).folder.storage.exists(f"{folder}/{part}") for part in ("checkpoints", "final")]

    states = {each.key: each.state for each in runs.outcomes()}
    spared = next(key for key, state in states.items() if state == "finished")
    assert {key: left(key) for key in states} == {
        key: [key == spared or state == "failed"] * 2 for key, state in states.items()
    }


def test_failures_are_named_and_forgotten(follow: Follow, parent: TrackedRun) -> None:
    runs = follow()
    runs.started(A)
    runs.failed(A, "it broke")
    runs.started(B)
    train(runs, B)
    runs.ended(B)
    assert run_of(parent, runs, A).data.tags["failure"] == "it broke"
    with pytest.raises(JobError, match="1 of 2 trials failed, and none was finished; the first, k=1: it broke"):
        runs.raise_failures(", and none was finished")
    again = follow()
    assert [(again.has_ended(point)) for point in (A, B)] == [False, True]
    again.started(A)
    run = run_of(parent, again, A)
    assert (run.info.status, "failure" in run.data.tags) == ("RUNNING", False)


def test_no_run_is_left_open(follow: Follow, parent: TrackedRun) -> None:
    killed, runs = follow(), follow()
    killed.started(A)
    runs.started(B)
    runs.close()
    assert {run_of(parent, runs, point).info.status for point in (A, B)} == {"KILLED"}
