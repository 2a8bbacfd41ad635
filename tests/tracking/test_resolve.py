"""Models and predictions are found by every name of a run or a model; a name without any is refused with the remedy."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.runs import CARD
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.resolve import ZERO_SHOT, MlflowName, resolve
from anomalyclip.tracking.runs import TrackedRun

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """The folder of an evaluation, its table a few bytes."""
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "predictions.parquet").write_bytes(b"scores")
    return tmp_path / "evaluation"


def predictions(name: str, storage: Storage, tracking_uri: str = "") -> Path:
    return resolve(name, storage, tracking_uri).predictions()


def refused(name: str, storage: Storage, tracking_uri: str = "", wanted: str = "predictions") -> str:
    with pytest.raises(UsageError) as caught:
        getattr(resolve(name, storage, tracking_uri), wanted)()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_and_the_model_it_registered_have_its_predictions(
    open_run: OpenRun, bundle: Path, evaluation: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        tracking.log_artifacts(evaluation, "evaluation")
        register_model(tracking, model_id, "detector")
        tracking.client.set_registered_model_alias("detector", "champion", "1")
    for name in (tracking.run_id, "models:/detector/1", "models:/detector@champion", f"models:/{model_id}"):
        assert predictions(name, storage, tracking_uri).read_bytes() == b"scores"


def test_a_folder_that_a_models_run_logged_is_found_without_its_plots(
    open_run: OpenRun, bundle: Path, tracking_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "linear" / "plots").mkdir(parents=True)
    for name in ("linear.json", "plots/a.png"):
        (tmp_path / "linear" / name).write_text("{}")
    with open_run() as tracking:
        register_model(tracking, log_model(tracking, bundle), "detector")
        tracking.log_artifacts(tmp_path / "linear", "linear")
    folder = MlflowName("models:/detector/1", tracking_uri).part("linear")
    assert folder is not None and [path.name for path in folder.iterdir()] == ["linear.json"]
    assert MlflowName("models:/detector/1", tracking_uri).part("mil") is None


def test_what_was_never_scored_says_how_to_score_it(
    open_run: OpenRun, bundle: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        register_model(tracking, log_model(tracking, bundle), "detector")
    for name in (tracking.run_id, "models:/detector/1"):
        line = refused(name, storage, tracking_uri)
        assert line.startswith(f"{name} has no predictions of its own: make them with ")
        assert f"`python workflows/evaluate.py {name} MANIFEST`" in line


def test_a_model_of_no_run_says_how_to_score_it(tracking_uri: str, storage: Storage) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    model = mlflow.initialize_logged_model("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.models, "get_model_info", lambda uri: model_without_run())
        assert "has no predictions of its own" in refused(f"models:/{model.model_id}", storage, tracking_uri)


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
        found = predictions(name, storage)
        assert (found.read_bytes(), found.is_relative_to(tmp_path / "root")) == (b"scores", is_local), name


def test_any_folder_or_file_will_do(evaluation: Path, storage: Storage) -> None:
    table = evaluation / "predictions.parquet"
    for name in (evaluation.parent, evaluation, table):
        assert predictions(str(name), storage) == table


def test_a_name_of_two_runs_is_refused(evaluation: Path, storage: Storage) -> None:
    for kind in ("runs", "evaluations"):
        storage.publish_folder(evaluation, f"{kind}/mine/evaluation")
    assert "mine is the name of runs/mine and of evaluations/mine: give one of these" in refused("mine", storage)


def test_an_evaluation_that_is_not_whole_is_not_found(evaluation: Path, storage: Storage) -> None:
    storage.publish(evaluation / "predictions.parquet", "runs/mine/evaluation/predictions.parquet")
    assert refused("mine", storage).startswith("there is no model or run mine: give models:/NAME/VERSION, ")


def test_a_model_is_found_by_every_name_it_has(
    open_run: OpenRun, bundle: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        register_model(tracking, model_id, "detector")
        tracking.client.set_registered_model_alias("detector", "champion", "1")
    for name in ("models:/detector/1", "models:/detector@champion", f"models:/{model_id}", tracking.run_id):
        found, found_id = resolve(name, storage, tracking_uri).bundle()
        assert (bundle_digest(found), found_id) == (bundle_digest(bundle), model_id)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_model_of_the_storage_root_is_found_by_name_key_and_folder(
    bundle: Path, evaluation: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    storage.publish_folder(bundle, "runs/mine/model")
    storage.publish_folder(evaluation, "evaluations/mine/evaluation")  # of the same name, but without a model
    storage.publish_folder(bundle, "imports/theirs/model")
    monkeypatch.setattr(Storage, "is_local", is_local)
    for name in ("mine", "runs/mine/model", "theirs", storage.uri("imports/theirs")):
        found, found_id = resolve(name, storage, "").bundle()
        assert (bundle_digest(found), found_id) == (bundle_digest(bundle), None), name
    for folder in (bundle, Path(storage.path("runs/mine"))):
        found, found_id = resolve(str(folder), storage, "").bundle()
        assert ((found / CARD).is_file(), found_id) == (True, None)
    assert "run evaluations/mine in " in refused("evaluations/mine", storage, wanted="bundle")


@pytest.mark.parametrize("is_local", [True, False])
def test_what_a_training_has_kept_beside_its_model_is_found(
    bundle: Path, evaluation: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    storage.publish_folder(bundle, "runs/mine/model")
    for kind in ("runs", "evaluations"):  # an evaluation of the same name holds no model
        storage.publish_folder(evaluation, f"{kind}/mine/linear")
    monkeypatch.setattr(Storage, "is_local", is_local)
    for name in ("mine", "runs/mine", storage.path("runs/mine"), storage.path("runs/mine/model")):
        folder = resolve(name, storage, "").part("linear")
        assert folder is not None and (folder / "predictions.parquet").read_bytes() == b"scores", name
        assert resolve(name, storage, "").part("mil") is None


def test_a_folder_has_what_it_holds(bundle: Path, evaluation: Path, storage: Storage) -> None:
    assert "holds no model: there is no model.json in it" in refused(str(evaluation), storage, wanted="bundle")
    assert "has no predictions of its own" in refused(str(bundle), storage)


def test_zero_shot_is_the_name_of_no_run_unless_somebody_gave_it(evaluation: Path, storage: Storage) -> None:
    assert "`python workflows/evaluate.py zero-shot MANIFEST`" in refused(ZERO_SHOT, storage)
    storage.publish_folder(evaluation, f"evaluations/{ZERO_SHOT}/evaluation")
    assert predictions(ZERO_SHOT, storage).read_bytes() == b"scores"


@pytest.mark.parametrize("wanted", ["bundle", "predictions"])
def test_what_mlflow_does_not_know_is_refused_in_one_line(tracking_uri: str, storage: Storage, wanted: str) -> None:
    for name in ("0" * 32, "models:/none/1", "models:/none@champion", "models:/none"):
        line = refused(name, storage, tracking_uri, wanted)
        assert line.startswith(f"MLflow at {tracking_uri}: ")
        assert name.removeprefix("models:/").partition("/")[0].partition("@")[0] in line


def test_a_run_without_a_model_is_refused(open_run: OpenRun, tracking_uri: str, storage: Storage) -> None:
    with open_run() as tracking:
        pass
    line = refused(tracking.run_id, storage, tracking_uri, "bundle")
    assert line == f"run {tracking.run_id} has logged no model"
