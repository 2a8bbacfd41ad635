from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.metrics import Metrics, compute_metrics
from anomalyclip.model.bundle import CARD, bundle_digest
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import find_bundle, log_model, register_model
from anomalyclip.tracking.runs import TrackedRun
from tests.predicted import in_memory

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


@pytest.fixture
def metrics() -> Metrics:
    scores = np.random.default_rng(0).random(20, dtype=np.float32)
    truth = np.tile([[True], [False]], (10, 1))
    probabilities = np.stack([scores, 1 - scores], axis=1)
    offsets = np.array([0, 10, 20])
    return compute_metrics(in_memory(offsets=offsets, scores=scores, probabilities=probabilities, truth=truth,
                                     classes=("Arson", "Normal"), label_classes=("Arson",)))  # fmt: skip


def test_a_run_has_one_model_and_one_version_however_often_it_is_resumed(
    open_run: OpenRun, bundle: Path, metrics: Metrics, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        assert register_model(tracking, model_id, "detector", metrics) == "1"
    with open_run(tracking.run_id) as tracking:
        assert log_model(tracking, bundle) == model_id
        assert register_model(tracking, model_id, "detector", metrics) == "1"
    assert len(tracking.client.search_model_versions("name='detector'")) == 1
    version = tracking.client.get_model_version("detector", "1")
    assert version.run_id == tracking.run_id
    assert version.tags["run_id"] == tracking.run_id
    assert version.tags["auc"] == f"{metrics.value('auc'):.6f}"
    assert version.tags["m_auc"] == f"{metrics.value('m_auc'):.6f}"
    linked = tracking.client.get_logged_model(model_id)
    assert linked.tags["mlflow.modelVersions"] == '[{"name": "detector", "version": "1"}]'
    assert capfd.readouterr() == ("", "")


def test_another_run_gets_the_next_version_and_a_model_without_figures_no_tags(
    open_run: OpenRun, bundle: Path, metrics: Metrics
) -> None:
    for number, figures in (("1", metrics), ("2", None)):
        with open_run() as tracking:
            assert register_model(tracking, log_model(tracking, bundle), "detector", figures) == number
    assert tracking.client.get_model_version("detector", "2").tags == {"run_id": tracking.run_id}


def test_a_model_is_found_by_every_name_it_has(
    open_run: OpenRun, bundle: Path, tracking_uri: str, storage: Storage
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        register_model(tracking, model_id, "detector", None)
        tracking.client.set_registered_model_alias("detector", "champion", "1")
    for name in ("models:/detector/1", "models:/detector@champion", f"models:/{model_id}", tracking.run_id):
        found, found_id = find_bundle(name, tracking_uri)
        assert (bundle_digest(found), found_id) == (bundle_digest(bundle), model_id)
    storage.publish_folder(bundle, "runs/mine/model")
    for folder in (bundle, Path(storage.path("runs/mine"))):
        found, found_id = find_bundle(str(folder), "")
        assert ((found / CARD).is_file(), found_id) == (True, None)


def test_what_is_no_model_is_refused_in_one_line(open_run: OpenRun, tracking_uri: str, tmp_path: Path) -> None:
    with open_run() as tracking:
        pass
    for name, message in {
        "models:/none/1": f"no model models:/none/1 at {tracking_uri}: ",
        "models:/none@champion": "no model models:/none@champion at ",
        "models:/none": "no model models:/none at ",
        "0" * 32: f"no model {'0' * 32} at ",
        tracking.run_id: f"run {tracking.run_id} has logged no model",
        str(tmp_path): f"no model {tmp_path}: give models:/NAME/VERSION, a run's id, or a folder that holds model.json",
    }.items():
        with pytest.raises(UsageError) as caught:
            find_bundle(name, tracking_uri)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_registry_holds_data_and_no_code(open_run: OpenRun, bundle: Path, storage: Storage) -> None:
    with open_run() as tracking:
        log_model(tracking, bundle)
    kinds = {file.suffix for file in Path(storage.path("mlflow/artifacts")).rglob("*") if file.is_file()}
    assert kinds == {"", ".json", ".safetensors", ".txt", ".yaml"}
    (description,) = Path(storage.path("mlflow/artifacts")).rglob("MLmodel")
    assert "loader_module: anomalyclip.tracking.pyfunc_model" in description.read_text()
    assert "python_model" not in description.read_text()
    assert "code:" not in description.read_text().replace("code: null", "")
