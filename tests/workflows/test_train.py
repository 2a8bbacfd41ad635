"""The main job end to end: what comes out, and that nothing that kills it changes what comes out."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pytest
import torch
from safetensors.torch import load_file

from anomalyclip.baselines.linear import load_linear
from anomalyclip.data.manifest import load_manifest
from anomalyclip.evaluation.comparison import compare
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.events.alarms import load_alarms
from anomalyclip.model.bundle import load_card
from anomalyclip.runs import ALARMS
from tests.commands import evaluate, score, train

pytestmark = pytest.mark.cluster
EPOCHS = 6
Result = dict[str, Any]


@pytest.fixture(scope="module")
def unbroken(ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str]) -> Result:
    return train([str(drawn_manifest), "--storage", str(storage_root), "--name", "unbroken", *options])


def test_its_model_scores_the_test_videos_as_it_did_in_training(
    unbroken: Result, drawn_manifest: Path, storage_root: Path
) -> None:
    options = ["--storage", str(storage_root), "--threshold", "0.3", "--no-report"]
    for model in (unbroken["run"], f"models:/anomalyclip/{unbroken['model_version']}"):
        scored = score([model, str(drawn_manifest), *options])
        table = pl.read_parquet(scored["paths"]["predictions"])
        assert table.equals(pl.read_parquet(folder_of(unbroken, "evaluation")))


@pytest.fixture(scope="module")
def client(unbroken: Result) -> mlflow.MlflowClient:
    mlflow.set_tracking_uri(unbroken["tracking_uri"])
    return mlflow.MlflowClient()


def folder_of(result: Result, part: str) -> Path:
    """The predictions in a folder of a run."""
    return Path(result["paths"][part]) / "predictions.parquet"


def last_weights(storage_root: Path, run: str) -> dict[str, torch.Tensor]:
    return load_file(storage_root / f"runs/{run}/checkpoints/epoch-{EPOCHS - 1:04d}/weights.safetensors")


def logged_epochs(client: mlflow.MlflowClient, run_id: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, "loss")]


def test_one_command_gives_a_registered_model(unbroken: Result, client: mlflow.MlflowClient) -> None:
    version = client.get_model_version("anomalyclip", unbroken["model_version"])
    assert float(version.tags["auc"]) == pytest.approx(unbroken["auc"], abs=1e-6)
    assert float(version.tags["m_auc"]) == pytest.approx(unbroken["m_auc"], abs=1e-6)
    run = client.get_run(unbroken["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.k"] == "3"
    assert {"auc", "m_auc", "ap", "m_ap", "video_auc", "best_epoch", "auc/Fighting"} <= run.data.metrics.keys()
    assert {"loss/smooth", "learning_rate", "val/video_auc"} <= run.data.metrics.keys()
    assert [dataset.tags[0].value for dataset in run.inputs.dataset_inputs] == ["training"]  # one name, one digest
    linked = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert {"auc", "m_auc"} <= {metric.key for metric in linked.metrics}
    names = {item.path for item in client.list_artifacts(unbroken["run_id"], "evaluation/plots")}
    assert "evaluation/plots/timelines.png" in names
    report = Path(unbroken["paths"]["evaluation"]) / "report.html"
    assert {"evaluation/report.html"} <= {item.path for item in client.list_artifacts(unbroken["run_id"], "evaluation")}
    assert all(video in report.read_text() for video in read_predictions(folder_of(unbroken, "evaluation")).video_ids)


def test_three_baselines_are_kept_with_the_run_and_compared_with_the_model(
    unbroken: Result, client: mlflow.MlflowClient
) -> None:
    run, model = client.get_run(unbroken["run_id"]), read_predictions(folder_of(unbroken, "evaluation"))
    for name, folder in (("zero_shot", "zero-shot"), ("linear", "linear"), ("mil", "mil")):
        baseline = read_predictions(folder_of(unbroken, folder))
        assert run.data.metrics[f"{name}_auc"] == compute_metrics(baseline).value("auc")
        assert compare(model, baseline).figures["auc"]
        assert f"{folder}/predictions.parquet" in {file.path for file in client.list_artifacts(run.info.run_id, folder)}
        assert unbroken[f"beats_{name}"] == run.data.tags[f"beats_{name}"] in ("yes", "no", "unknown")
    assert load_linear(folder_of(unbroken, "linear").parent).classes == model.classes
    assert load_card(folder_of(unbroken, "mil").parent).model.method == "sultani"


def test_every_epoch_is_logged_once(unbroken: Result, client: mlflow.MlflowClient) -> None:
    assert logged_epochs(client, unbroken["run_id"]) == list(range(EPOCHS))


def test_predictions_have_a_row_a_frame(unbroken: Result, drawn_manifest: Path) -> None:
    rows = pl.read_parquet(Path(unbroken["paths"]["evaluation"]) / "predictions.parquet")
    counts = dict(rows.group_by("video_id").len().iter_rows())
    test = load_manifest(drawn_manifest).filter(pl.col("split") == "test")
    assert counts == dict(test.select("video_id", "num_frames").iter_rows())


def test_a_finished_run_answers_with_its_result(unbroken: Result, drawn_manifest: Path, storage_root: Path,
                                                options: Sequence[str]) -> None:  # fmt: skip
    started = time.monotonic()
    again = train([str(drawn_manifest), "--storage", str(storage_root), "--name", "unbroken", *options])
    assert again == unbroken
    assert json.loads((storage_root / "runs/unbroken/result.json").read_text()) == unbroken
    assert time.monotonic() - started < 30


def test_the_registered_model_scores_as_the_evaluation_did(
    unbroken: Result, client: mlflow.MlflowClient, drawn_manifest: Path, storage_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ANOMALYCLIP_VIDEO_ROOT", str(drawn_manifest.parent))
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", str(storage_root))
    video = load_manifest(drawn_manifest).filter(pl.col("split") == "test").row(0, named=True)
    model = mlflow.pyfunc.load_model(f"models:/anomalyclip/{unbroken['model_version']}")
    scored = model.predict(pd.DataFrame({"path": [video["path"]]}))
    rows = pl.read_parquet(Path(unbroken["paths"]["evaluation"]) / "predictions.parquet")
    expected = rows.filter(pl.col("video_id") == video["video_id"])
    for ours, column in (("score", "score"), ("p_Fighting", "p_Fighting"), ("p_Normal", "p_Normal")):
        np.testing.assert_allclose(scored[ours][0], expected[column].to_numpy(), atol=1e-5)


@pytest.mark.parametrize("model", ["registry", "run", "folder"])
def test_evaluate_repeats_the_figures_of_training(
    unbroken: Result, ray_session: None, drawn_manifest: Path, storage_root: Path, model: str
) -> None:
    names = {
        "registry": f"models:/anomalyclip/{unbroken['model_version']}",
        "run": unbroken["run_id"],
        "folder": unbroken["paths"]["model"],
    }
    result = evaluate([names[model], str(drawn_manifest), "--storage", str(storage_root), "--fresh"])
    assert (result["auc"], result["m_auc"], result["ap"]) == tuple(unbroken[key] for key in ("auc", "m_auc", "ap"))


def checkpoints_from(storage_root: Path, run: str, epoch: int) -> bool:
    folders = (storage_root / f"runs/{run}/checkpoints").glob("epoch-*/_COMPLETE")
    return any(int(marker.parent.name.removeprefix("epoch-")) >= epoch for marker in folders)


def wait_for(condition: Callable[[], bool], process: Any, seconds: float = 480) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def worker_processes(driver: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(driver).children(recursive=True) if "RayTrainWorker" in "".join(p.cmdline()[:1])]


@pytest.mark.parametrize(("workers", "tolerance"), [(1, 0.0), (2, 1e-5)])
def test_a_killed_and_resumed_run_ends_as_an_unbroken_one(
    unbroken: Result, client: mlflow.MlflowClient, start_job: Callable[..., Any], run_job: Callable[..., Any],
    drawn_manifest: Path, storage_root: Path, options: Sequence[str], workers: int, tolerance: float,
) -> None:  # fmt: skip
    name = f"killed-{workers}"
    arguments = ["train", str(drawn_manifest), "--name", name, *options, "--set", f"training.workers={workers}"]
    job = start_job(*arguments)
    wait_for(lambda: checkpoints_from(storage_root, name, 0), job)
    victims = worker_processes(job.pid)
    assert len(victims) == workers
    victims[0].kill()
    wait_for(lambda: checkpoints_from(storage_root, name, 2), job)
    family = psutil.Process(job.pid).children(recursive=True)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    psutil.wait_procs(family, timeout=30)
    assert not (storage_root / f"runs/{name}/result.json").exists()

    code, result, errors = run_job(*arguments)
    assert code == 0, errors
    assert result is not None
    assert logged_epochs(client, result["run_id"]) == list(range(EPOCHS))
    ours, expected = last_weights(storage_root, name), last_weights(storage_root, "unbroken")
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert (ours[key] - value).norm() <= tolerance * value.norm(), key
    for part in ("linear", "mil"):  # made again by the same process or another: the same to the last digit
        assert pl.read_parquet(folder_of(result, part)).equals(pl.read_parquet(folder_of(unbroken, part)))


def test_a_final_fit_trains_on_the_held_out_videos_too(
    unbroken: Result, client: mlflow.MlflowClient, drawn_manifest: Path, storage_root: Path, options: Sequence[str]
) -> None:
    settings = [*options, "--set", "training.final_fit=true", "--set", "training.epochs=3"]
    result = train([str(drawn_manifest), "--storage", str(storage_root), "--name", "final", *settings])
    chosen = int(client.get_run(result["run_id"]).data.metrics["best_epoch"])
    final = [metric.step for metric in client.get_metric_history(result["run_id"], "final/loss")]
    assert final == list(range(chosen + 1))
    assert not any(name.startswith("final/val") for name in client.get_run(result["run_id"]).data.metrics)
    folder = storage_root / "runs/final"
    kept = load_file(Path(result["paths"]["model"]) / "model.safetensors")
    first = load_file(folder / f"checkpoints/epoch-{chosen:04d}/weights.safetensors")
    second = load_file(folder / f"final/checkpoints/epoch-{chosen:04d}/weights.safetensors")
    prototype = "normality_prototype"
    assert torch.equal(kept[prototype], second[prototype])
    assert not torch.equal(kept[prototype], first[prototype])


def test_videos_that_cannot_be_decoded_are_left_out_and_counted(
    ray_session: None, drawn_manifest: Path, tmp_path: Path, storage_root: Path, options: Sequence[str]
) -> None:
    shutil.copytree(drawn_manifest.parent, tmp_path / "clips")
    manifest = tmp_path / "clips" / drawn_manifest.name
    table = load_manifest(manifest)
    normal_test = table.filter((pl.col("split") == "test") & (pl.col("labels").list.len() == 0))
    for source in (table.filter(pl.col("split") == "train")["source"][0], normal_test["source"][0]):
        Path(source).write_bytes(b"no video at all")
    settings = [*options, "--set", "training.protocol=paper", "--set", "extraction.sampling_rate=3"]
    result = train([str(manifest), "--storage", str(storage_root), "--set", "training.epochs=2", *settings])
    assert result["quarantined"] == 2
    rows = pl.read_parquet(Path(result["paths"]["evaluation"]) / "predictions.parquet")
    counts = dict(rows.group_by("video_id").len().iter_rows())
    scored = table.filter((pl.col("split") == "test") & (pl.col("video_id") != normal_test["video_id"][0]))
    assert counts == dict(scored.select("video_id", "num_frames").iter_rows())


def test_ctrl_c_stops_at_once_says_so_and_marks_the_run(
    unbroken: Result, client: mlflow.MlflowClient, start_job: Callable[..., Any], drawn_manifest: Path,
    storage_root: Path, options: Sequence[str],
) -> None:  # fmt: skip
    job = start_job("train", str(drawn_manifest), "--name", "stopped", *options, "--set", "training.epochs=500")
    wait_for(lambda: checkpoints_from(storage_root, "stopped", 0), job)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 130
    assert errors.splitlines()[-1] == "stopped; the same command resumes from here"
    run_id = json.loads((storage_root / "runs/stopped/mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_model_carries_its_false_alarms_on_the_normal_videos_held_out(
    unbroken: Result, client: mlflow.MlflowClient
) -> None:
    table = load_alarms(Path(unbroken["paths"]["model"]))
    assert table is not None and table.held_out and table.hours > 0
    logged = mlflow.artifacts.list_artifacts(f"models:/anomalyclip/{unbroken['model_version']}/data/model")
    assert any(item.path.endswith(ALARMS) for item in logged)
    version = client.get_model_version("anomalyclip", unbroken["model_version"])
    assert float(version.tags["detection_threshold"]) == pytest.approx(table.point().detection, rel=1e-4)
    assert version.tags["operating_point"] == table.choose(1.0).sentence()
    assert read_predictions(folder_of(unbroken, "evaluation")).operating == table.point()


def test_evaluating_gives_an_older_model_its_table_of_false_alarms(
    unbroken: Result, drawn_manifest: Path, storage_root: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(unbroken["paths"]["model"], tmp_path / "older")
    (older / ALARMS).unlink()
    result = evaluate([str(older), str(drawn_manifest), "--storage", str(storage_root)])
    table = load_alarms(older)
    assert table is not None and not table.held_out
    assert read_predictions(folder_of(result, "evaluation")).operating == table.point()
