"""The search end to end on few trials: killed and resumed, stopped early, in groups of workers; and the benchmark."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import psutil
import pytest
import torch
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from sklearn.metrics import roc_auc_score

import anomalyclip.tuning.search
from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError
from anomalyclip.job import Job
from anomalyclip.settings import build_config
from anomalyclip.training.fit_plan import run_plan
from anomalyclip.training.validation import best_epoch
from anomalyclip.tuning import engine, search_job, trial_runs
from anomalyclip.tuning.engine import run_trials
from anomalyclip.tuning.separation import Separation
from anomalyclip.tuning.space import Point, Space, log_between, one_of
from anomalyclip.tuning.trial_runs import TrialRuns
from anomalyclip.tuning.trials import Outcome, Study
from tests.commands import search as main
from tests.commands import train
from tests.tuning.processes import trial_processes

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parent.parent.parent
TOO_LONG = 100
"""Words of context that no text tower takes."""
SPACES = {
    "grid": Space({"model.context_length": one_of(4, 5, 6, TOO_LONG)}),
    "wide": Space({"training.learning_rate": log_between(1e-4, 1e-2)}, trials=3),
    "group": Space({"model.k": one_of(2)}),
    "hopeless": Space({"model.context_length": one_of(TOO_LONG, TOO_LONG + 1)}),
}
RUN = (
    "from anomalyclip import cli; from anomalyclip.tuning import search; from tests.tuning.test_search import SPACES; "
    "search.SPACES = SPACES; cli.run(search.main)"
)
Search = Callable[..., dict[str, Any]]


@pytest.fixture
def common(drawn_manifest: Path, storage_root: Path, options: Sequence[str]) -> list[str]:
    """The arguments of all searches."""
    settings = ["--set", "training.epochs=2", "--set", "training.max_failures=1"]
    return [str(drawn_manifest), "--storage", str(storage_root), *options, *settings]


@pytest.fixture
def search(ray_session: None, common: list[str], monkeypatch: pytest.MonkeyPatch) -> Search:
    """Run the command over a space of SPACES."""
    monkeypatch.setattr(anomalyclip.tuning.search, "SPACES", SPACES)
    return lambda space, *arguments: main([*common, "--space", space, "--name", space, *arguments])


@pytest.fixture
def try_out(search: Search, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Run the command up to its trials; returns how they ended, and their MLflow runs by name."""
    found: dict[str, Any] = {}

    def finish(
        job: Job, prepared: Any, run_id: str, outcomes: Any, best: Outcome, apart: Separation, winner: Any
    ) -> dict[str, Any]:
        found.clear()
        client = mlflow.MlflowClient(job.tracking_uri)
        found.update(states=sorted(each.state for each in outcomes), **best.figures, apart=apart)
        found.update(client=client, runs=children(client, run_id))
        return {}

    monkeypatch.setattr(search_job, "train_winner", lambda *arguments: None)
    monkeypatch.setattr(search_job, "finish", finish)

    def run(*arguments: str) -> dict[str, Any]:
        search(*arguments)
        return dict(found)

    return run


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Study, Point]]:
    """What was given to the cluster."""
    trials: list[tuple[Study, Point]] = []

    def spy(study: Study, points: Sequence[Point], *others: Any) -> None:
        trials.extend((study, point) for point in points)
        run_trials(study, points, *others)

    monkeypatch.setattr(trial_runs, "run_trials", spy)
    return trials


def children(client: mlflow.MlflowClient, run_id: str) -> dict[str, mlflow.entities.Run]:
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    assert len(runs) == len({run.info.run_name for run in runs})
    return {run.info.run_name: run for run in runs}


def finished(root: Path) -> dict[Path, int]:
    """The finished trials of a storage root, and when each ended."""
    return {path: path.stat().st_mtime_ns for path in root.glob("trials/*/result.json")}


def kill_after(job: subprocess.Popen[str], condition: Callable[[], bool], seconds: float) -> None:
    """Kill a driver and its Ray once a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
    family = psutil.Process(job.pid).children(recursive=True)
    os.kill(job.pid, signal.SIGKILL)
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    job.communicate()
    psutil.wait_procs(family, timeout=30)


def test_a_search_that_was_killed_goes_on_and_its_winner_is_the_candidate(
    search: Search, given: list[tuple[Study, Point]], common: list[str], storage_root: Path
) -> None:
    before = finished(storage_root)
    command = [sys.executable, "-c", RUN, *common, "--space", "grid", "--name", "grid"]
    job = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_after(job, lambda: len(finished(storage_root)) > len(before), 180)
    done = finished(storage_root)
    assert 1 <= len(done) - len(before) < 3
    client = mlflow.MlflowClient(f"sqlite:///{storage_root}/mlflow/mlflow.db")

    result = search("grid", "--resume")
    assert result["trials"] == {"finished": 3, "failed": 1}
    assert {path: when for path, when in finished(storage_root).items() if path in done} == done
    assert len(given) <= 4 - (len(done) - len(before))

    parent = client.get_run(result["run_id"])
    runs = children(client, result["run_id"])
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {f"context_length={n}": "FAILED" if n == TOO_LONG else "FINISHED" for n in (4, 5, 6, TOO_LONG)}
    assert "exceed the text tower's 77 tokens" in runs[f"context_length={TOO_LONG}"].data.tags["failure"]
    best = runs[f"context_length={result['best']['model.context_length']}"]
    assert best.data.metrics["best_video_auc"] == max(
        run.data.metrics.get("best_video_auc", 0) for run in runs.values()
    )  # fmt: skip
    assert best.data.metrics["best_video_auc"] == parent.data.metrics["best_video_auc"] == result["best_video_auc"]
    assert best.data.params["model.context_length"] == str(result["best"]["model.context_length"])
    for run in runs.values():
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
        assert steps == ([0, 1] if run.info.status == "FINISHED" else [])
        assert not {"auc", "m_auc"} & run.data.metrics.keys()  # test figures of the winner alone are read

    version = client.get_model_version_by_alias("anomalyclip", "candidate")
    assert str(version.version) == result["winner"]["model_version"]
    assert version.run_id == result["winner"]["run_id"]
    winner = client.get_run(version.run_id)
    assert (winner.info.status, winner.data.tags["search"]) == ("FINISHED", result["run_id"])
    assert winner.data.metrics["auc"] == parent.data.metrics["auc"] == result["auc"]
    assert winner.data.metrics["best_video_auc"] == result["best_video_auc"]
    apart = result["separation"]
    assert apart["others"] == 2
    assert (storage_root / "trials" / apart["next"]["trial"]).is_dir()
    assert parent.data.metrics["best_minus_next"] == apart["next"]["difference"] >= 0
    assert parent.data.tags["separated_from_next"] in ("yes", "no", "unknown")
    for path in finished(storage_root):
        scores = pl.read_parquet(path.parent / "validation.parquet")
        history = json.loads(path.read_text())["history"]
        auc = roc_auc_score(scores["abnormal"], scores["score"])
        assert auc == pytest.approx(history[best_epoch(history, "best")]["val/video_auc"])
    names = {item.path for item in client.list_artifacts(result["run_id"], "report")}
    assert names >= {f"report/{name}" for name in ("trials.csv", "trials.md", "best.yaml", "plots")}
    assert not list(storage_root.glob("searches/grid/ray"))

    assert search("grid") == result
    config = build_config(RunConfig(), Path(result["paths"]["config"]))
    assert config.model.context_length == result["best"]["model.context_length"]
    again = train([*common[:3], "--config", result["paths"]["config"], "--name", "grid-best"])
    assert (again["run_id"], again["auc"]) == (result["winner"]["run_id"], result["auc"])


def test_finished_trials_of_another_search_are_looked_up(try_out: Search, storage_root: Path, tmp_path: Path) -> None:
    first = try_out("group", "--name", "group-1")
    done = finished(storage_root)
    (tmp_path / "mine.yaml").write_text("model.k: [2]")
    second = try_out(str(tmp_path / "mine.yaml"), "--name", "group-2")
    assert finished(storage_root) == done
    assert second["best_video_auc"] == first["best_video_auc"]
    (run,) = second["runs"].values()
    assert (run.info.status, run.data.tags["looked_up"]) == ("FINISHED", "true")
    assert run.data.metrics == {name: run.data.metrics[name] for (each,) in [first["runs"].values()] for name in
                                each.data.metrics}  # fmt: skip


def test_trials_that_the_scheduler_stops_end_too(
    try_out: Search, monkeypatch: pytest.MonkeyPatch, storage_root: Path
) -> None:
    class Stopper(FIFOScheduler):  # type: ignore[misc]
        """Stops all trials but the first to report."""

        first: str | None = None

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            self.first = self.first or trial.trial_id
            return str(TrialScheduler.CONTINUE if trial.trial_id == self.first else TrialScheduler.STOP)

    monkeypatch.setattr(engine, "_asha", lambda *arguments: Stopper())
    result = try_out("wide")
    assert result["states"] == ["finished", "stopped early", "stopped early"]
    runs = result["runs"].values()
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED", "KILLED"]
    assert {run.data.tags.get("stopped_early") for run in runs} == {None, "1"}
    table = pl.read_csv(storage_root / "searches/wide/report/trials.csv")
    assert table["epochs"].to_list() == [2, 1, 1]
    assert table["training.learning_rate"].n_unique() == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in table["training.learning_rate"])


def test_a_trial_of_a_group_of_workers_is_the_same_fit(try_out: Search, given: list[tuple[Study, Point]]) -> None:
    result = try_out("group", "--workers", "2", "--set", "training.seed=7")
    ((study, point),) = given
    assert (result["states"], study.base.config.training.workers) == (["finished"], 2)
    alone = replace(study.trial(point).plan, key="alone")
    run_plan(alone, torch.device("cpu"))
    (run,) = result["runs"].values()
    losses = [metric.value for metric in result["client"].get_metric_history(run.info.run_id, "loss")]
    assert losses == pytest.approx([row["loss"] for row in alone.checkpoints().history()], rel=1e-5)


def test_a_trial_whose_process_is_killed_goes_on_from_its_last_checkpoint(
    try_out: Search, monkeypatch: pytest.MonkeyPatch, storage_root: Path
) -> None:
    killed: list[Path] = []

    def look(trials: TrialRuns) -> None:
        fresh = [path for path in storage_root.glob("trials/*/checkpoints/epoch-*") if path not in before]
        if fresh and not killed:
            killed.append(fresh[0])
            (process,) = trial_processes()
            process.kill()
        original(trials)

    before = set(storage_root.glob("trials/*/checkpoints/epoch-*"))
    original = TrialRuns.look
    monkeypatch.setattr(TrialRuns, "look", look)
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.0)
    result = try_out("group", "--name", "lost", "--set", "training.epochs=8")
    assert killed
    assert result["states"] == ["finished"]
    (run,) = result["runs"].values()
    steps = [metric.step for metric in result["client"].get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(8))


def test_where_all_trials_fail_the_search_says_why_and_tries_again_the_next_time(
    try_out: Search, given: list[tuple[Study, Point]]
) -> None:
    for _ in range(2):
        with pytest.raises(JobError, match=r"2 of 2 trials failed, and none was finished; the first, .* 77 tokens"):
            try_out("hopeless")
    assert len(given) == 4


@pytest.mark.accept
def test_the_grid_on_the_benchmark_within_twenty_minutes_although_it_is_killed_in_the_middle(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    command = [sys.executable, "tuning/search.py", "--storage", str(root), "--name", "grid"]
    started = time.monotonic()
    job = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL)
    kill_after(job, lambda: len(finished(root)) >= 5, 1200)
    done = finished(root)
    again = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=1200, check=True)
    minutes = (time.monotonic() - started) / 60
    result = json.loads(again.stdout)
    print((root / "searches/grid/report/trials.md").read_text())
    print(f"{minutes:.1f} minutes; winner {result['best']}: AUC {result['auc']:.4f}, mAUC {result['m_auc']:.4f}")
    assert sum(result["trials"].values()) >= 12
    assert result["trials"].keys() == {"finished"}
    assert {path: when for path, when in finished(root).items() if path in done} == done
    client = mlflow.MlflowClient(result["tracking_uri"])
    runs = children(client, result["run_id"])
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == sum(result["trials"].values())
    assert client.get_model_version_by_alias("anomalyclip", "candidate").run_id == result["winner"]["run_id"]
    assert minutes < 20
