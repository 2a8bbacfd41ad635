from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.evaluation.metrics import Metrics, compute_metrics
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
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
    open_run: OpenRun, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        assert register_model(tracking, model_id, "detector") == "1"
    with open_run(tracking.run_id) as tracking:
        assert log_model(tracking, bundle) == model_id
        assert register_model(tracking, model_id, "detector") == "1"
    assert len(tracking.client.search_model_versions("name='detector'")) == 1
    assert tracking.client.get_model_version("detector", "1").run_id == tracking.run_id
    linked = tracking.client.get_logged_model(model_id)
    assert linked.tags["mlflow.modelVersions"] == '[{"name": "detector", "version": "1"}]'
    assert capfd.readouterr() == ("", "")


def test_a_version_states_what_it_was_made_from_and_how_good_it_is(
    open_run: OpenRun, bundle: Path, metrics: Metrics
) -> None:
    made_from = {
        "dataset": "yard",
        "backbone": "clip-tiny",
        "protocol": "clean",
        "classes": "Arson, Normal",
        "above_chance": "no",
    }
    with open_run() as tracking:
        tracking.log_tags({**made_from, "imported_features": "none", "feature_fingerprint": "abc"})
        tracking.log_metrics(metrics.flat())
        register_model(tracking, log_model(tracking, bundle), "detector", "AUC 0.6: not above chance.")
    made = tracking.client.get_model_version("detector", "1")
    figures = {name: f"{metrics.value(name):.6f}" for name in ("auc", "m_auc")}
    digest = {"model_digest": bundle_digest(bundle)}
    assert made.tags == {"run_id": tracking.run_id, **made_from, **figures, **digest}
    assert "trained on **yard**" in made.description
    assert made.description.startswith("AUC 0.6: not above chance.\n\n")
    assert f"{metrics.value('auc'):.3f}" in made.description
    assert "`features`" in tracking.client.get_registered_model("detector").description


def test_another_run_gets_the_next_version_and_a_model_without_figures_no_tags_of_them(
    open_run: OpenRun, bundle: Path
) -> None:
    with open_run() as tracking:
        tracking.client.create_registered_model("detector", description="Ours.")
    for number in ("1", "2"):
        with open_run() as tracking:
            assert register_model(tracking, log_model(tracking, bundle), "detector") == number
    tags = {"run_id": tracking.run_id, "model_digest": bundle_digest(bundle)}
    assert tracking.client.get_model_version("detector", "2").tags == tags
    assert tracking.client.get_registered_model("detector").description == "Ours."


def test_a_model_requires_the_version_that_logged_it(open_run: OpenRun, bundle: Path, storage: Storage) -> None:
    with open_run() as tracking:
        log_model(tracking, bundle)
    (file,) = Path(storage.path("mlflow/artifacts")).rglob("requirements.txt")
    assert f"anomalyclip=={version('anomalyclip')}" in file.read_text().split()


def test_the_registry_holds_data_and_no_code(open_run: OpenRun, bundle: Path, storage: Storage) -> None:
    with open_run() as tracking:
        log_model(tracking, bundle)
    kinds = {file.suffix for file in Path(storage.path("mlflow/artifacts")).rglob("*") if file.is_file()}
    assert kinds == {"", ".json", ".safetensors", ".txt", ".yaml"}
    (description,) = Path(storage.path("mlflow/artifacts")).rglob("MLmodel")
    assert "loader_module: anomalyclip.tracking.pyfunc_model" in description.read_text()
    assert "python_model" not in description.read_text()
    assert "code:" not in description.read_text().replace("code: null", "")
