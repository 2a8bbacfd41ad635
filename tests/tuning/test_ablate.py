"""The ablation end to end on few rows: its tables and runs, and that what was finished is not trained again."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

from anomalyclip.errors import JobError
from anomalyclip.tuning import ablation_job, trial_runs
from anomalyclip.tuning.ablation_tables import Row, Table
from anomalyclip.tuning.engine import run_trials
from anomalyclip.tuning.space import Point
from anomalyclip.tuning.trial_runs import TrialRuns
from anomalyclip.tuning.trials import Study
from tests.commands import ablate as main
from tests.tuning.processes import trial_processes

pytestmark = pytest.mark.cluster
TABLE = Table(5, "Two rows", ("Temporal model",), (Row(("MLP",), {"temporal": "mlp"}, 1, 2), Row(("axial",), {}, 3, 4)))
EPOCHS = 2
Ablate = Callable[..., dict[str, Any]]


@pytest.fixture
def ablate(
    ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Ablate:
    """Run the command for the rows of TABLE."""
    monkeypatch.setattr(ablation_job, "TABLES", (TABLE,))
    common = ["--storage", str(storage_root), *options, "--set", f"training.epochs={EPOCHS}"]
    return lambda *arguments: main([str(drawn_manifest), *common, *arguments])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the trials that were given to the cluster."""
    names: list[str] = []

    def spy(study: Study, points: Sequence[Point], *others: Any) -> None:
        names.extend(study.trial(point).name for point in points)
        run_trials(study, points, *others)

    monkeypatch.setattr(trial_runs, "run_trials", spy)
    return names


def nested(client: mlflow.MlflowClient, name: str) -> dict[str, mlflow.entities.Run]:
    """The trials' runs below the ablation of that name, and that itself."""
    experiment = client.get_experiment_by_name("anomalyclip")
    (parent,) = client.search_runs([experiment.experiment_id], f"tags.mlflow.runName = '{name}'")
    below = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    return {run.info.run_name: run for run in [parent, *below]}


def statuses(client: mlflow.MlflowClient, name: str) -> dict[str, str]:
    return {key: run.info.status for key, run in nested(client, name).items()}


def test_a_row_a_seed_comes_out_and_a_finished_one_is_not_trained_again(
    ablate: Ablate, trained: list[str], storage_root: Path
) -> None:
    first = ablate("--name", "rows", "--seeds", "1")
    assert trained == ["mlp-1024", "default-1024"]
    assert ablate("--name", "rows", "--seeds", "1") == first
    result = ablate("--name", "rows", "--seeds", "2")
    assert trained[2:] == ["mlp-1025", "default-1025"]
    assert [values["auc"][0] for values in result["rows"].values()] == [v["auc"][0] for v in first["rows"].values()]

    client = mlflow.MlflowClient(result["tracking_uri"])
    runs = nested(client, "rows")
    assert set(runs) == {"rows", *trained}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name, run in runs.items():
        if name != "rows":
            row, _, seed = name.partition("-")
            assert run.data.metrics["auc"] == result["rows"][row]["auc"][int(seed) - 1024]
            assert (
                (run.data.tags["row"], run.data.tags["seed"]) == (row, seed) == (row, run.data.params["training.seed"])
            )
            assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [0, 1]
    assert runs["mlp-1024"].data.params["model.temporal"] == "mlp"

    folder = storage_root / "ablations/rows"
    text = (folder / "tables/table-5.md").read_text()
    axial, mlp = (result["rows"][name]["auc"] for name in ("default", "mlp"))
    assert f"| MLP | {50 * sum(mlp):.2f} ± " in text
    assert f"| axial | {50 * sum(axial):.2f} ± " in text
    assert f"| {50 * (sum(mlp) - sum(axial)):+.2f}" in text
    assert [item.path for item in client.list_artifacts(result["run_id"], "tables")] == ["tables/table-5.md"]


def test_a_trial_that_fails_costs_no_other_and_is_done_the_next_time(
    ablate: Ablate, trained: list[str], storage_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacles: list[Path] = []

    def obstruct(study: Study, points: Sequence[Point], *others: Any) -> None:
        obstacles.append(storage_root / study.trial(points[0]).folder.key / "checkpoints/epoch-0000")
        obstacles[0].parent.mkdir()
        obstacles[0].touch()
        original(study, points, *others)

    original = trial_runs.run_trials
    with monkeypatch.context() as patch, pytest.raises(JobError, match=r"1 of 2 trials failed.*mlp-1024.*epoch-0000"):
        patch.setattr(trial_runs, "run_trials", obstruct)
        ablate("--name", "failing", "--seeds", "1")
    obstacles[0].unlink()
    client = mlflow.MlflowClient(f"sqlite:///{storage_root}/mlflow/mlflow.db")
    expected = {"failing": "FAILED", "default-1024": "FINISHED", "mlp-1024": "FAILED"}
    assert statuses(client, "failing") == expected
    ablate("--name", "failing", "--seeds", "1")
    assert trained == ["mlp-1024", "default-1024", "mlp-1024"]
    assert statuses(client, "failing") == dict.fromkeys(expected, "FINISHED")


def test_an_interrupt_keeps_what_is_finished_and_leaves_no_run_open_and_no_process(
    ablate: Ablate, trained: list[str], storage_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TrialRuns, point: Point) -> None:
        original(self, point)
        raise KeyboardInterrupt

    original = TrialRuns.ended
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrialRuns, "ended", interrupt)
        ablate("--name", "stopped", "--seeds", "1")
    assert not psutil.wait_procs(trial_processes(), timeout=60)[1]
    client = mlflow.MlflowClient(f"sqlite:///{storage_root}/mlflow/mlflow.db")
    found = statuses(client, "stopped")
    assert found.pop("stopped") == "KILLED"
    done = [name for name, status in found.items() if status == "FINISHED"]
    assert len(done) == 1
    assert set(found.values()) <= {"FINISHED", "KILLED"}
    ablate("--name", "stopped", "--seeds", "1")
    assert done[0] not in trained[2:]
    assert set(statuses(client, "stopped").values()) == {"FINISHED"}


@pytest.mark.accept
def test_the_papers_tables_come_out_of_the_benchmark_within_an_hour(tmp_path: Path) -> None:
    command = [sys.executable, "workflows/ablate.py", "--storage", str(tmp_path / "storage")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=3600, check=True)
    result = json.loads(done.stdout)
    assert len(result["rows"]) == 8 and all(len(values["auc"]) == 3 for values in result["rows"].values())
    for table in ablation_job.TABLES:
        text = (Path(result["paths"]["tables"]) / f"table-{table.number}.md").read_text()
        print(text)
        assert all(name in text for row in table.rows for name in row.cells)
