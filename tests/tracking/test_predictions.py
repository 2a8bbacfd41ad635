"""Predictions are found by every name a run or a model has, and a name without any says how to make them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.storage import Storage
from anomalyclip.tracking.predictions import find_predictions
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """The folder of an evaluation, its table a few bytes."""
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "predictions.parquet").write_bytes(b"scores")
    return tmp_path / "evaluation"


def job(storage: Storage, tracking_uri: str = "") -> Job:
    return Job(storage, RunConfig(), None, False, tracking_uri)


def refused(name: str, job: Job) -> str:
    with pytest.raises(UsageError) as caught:
        find_predictions(name, job)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_and_the_model_it_registered_have_its_predictions(
    open_run: OpenRun, bundle: Path, evaluation: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        tracking.log_artifacts(evaluation, "evaluation")
        register_model(tracking, model_id, "detector", None)
        tracking.client.set_registered_model_alias("detector", "champion", "1")
    for name in (tracking.run_id, "models:/detector/1", "models:/detector@champion", f"models:/{model_id}"):
        assert find_predictions(name, job(storage, tracking_uri)).read_bytes() == b"scores"


def test_what_was_never_scored_says_how_to_score_it(
    open_run: OpenRun, bundle: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        register_model(tracking, log_model(tracking, bundle), "detector", None)
    for name in (tracking.run_id, "models:/detector/1"):
        line = refused(name, job(storage, tracking_uri))
        assert line.startswith(f"{name} has no predictions of its own: make them with ")
        assert f"`python workflows/evaluate.py {name} MANIFEST`" in line


def test_a_model_of_no_run_says_how_to_score_it(tracking_uri: str, storage: Storage) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    model = mlflow.initialize_logged_model("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.models, "get_model_info", lambda uri: model_without_run())
        assert "has no predictions of its own" in refused(f"models:/{model.model_id}", job(storage, tracking_uri))


def model_without_run() -> object:
    return type("Info", (), {"run_id": None})()


@pytest.mark.parametrize("is_local", [True, False])
def test_a_run_in_the_storage_root_is_found_by_name_key_and_address(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    storage = Storage(f"file://{tmp_path}/root")
    storage.publish_folder(evaluation, "runs/mine/evaluation")
    storage.publish_folder(evaluation, "evaluations/theirs/evaluation")
    monkeypatch.setattr(Storage, "is_local", is_local)  # else read as an object store is
    for name in (
        "mine", "runs/mine", "theirs", "evaluations/theirs/", storage.uri("runs/mine"),
        storage.uri("runs/mine/evaluation"), storage.uri("runs/mine/evaluation/predictions.parquet"),
    ):  # fmt: skip
        found = find_predictions(name, job(storage))
        assert (found.read_bytes(), found.is_relative_to(tmp_path / "root")) == (b"scores", is_local), name


def test_any_folder_or_file_will_do(evaluation: Path, storage: Storage) -> None:
    table = evaluation / "predictions.parquet"
    for name in (evaluation.parent, evaluation, table):
        assert find_predictions(str(name), job(storage)) == table


def test_a_name_of_two_runs_is_refused(evaluation: Path, storage: Storage) -> None:
    for kind in ("runs", "evaluations"):
        storage.publish_folder(evaluation, f"{kind}/mine/evaluation")
    assert "mine is the name of runs/mine and of evaluations/mine: say which" in refused("mine", job(storage))


def test_an_evaluation_that_is_not_whole_is_not_found(evaluation: Path, storage: Storage) -> None:
    storage.publish(evaluation / "predictions.parquet", "runs/mine/evaluation/predictions.parquet")
    assert refused("mine", job(storage)).startswith("no predictions mine: give models:/NAME/VERSION, ")


def test_what_mlflow_does_not_know_is_refused(tracking_uri: str, storage: Storage) -> None:
    for name in ("0" * 32, "models:/none/1", "models:/none@champion"):
        assert refused(name, job(storage, tracking_uri)).startswith(f"no predictions of {name} at {tracking_uri}: ")
