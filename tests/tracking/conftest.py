import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import pytest
import torch

from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.model.directions import FixedDirections
from anomalyclip.storage import Storage
from anomalyclip.tracking.runs import TrackedRun, tracked_run
from anomalyclip.tracking.server import connect

CLASSES = ("Arson", "Fighting", "Normal")
OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


@pytest.fixture(scope="session")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, which takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracking_uri(_database: Path, tmp_path: Path) -> Iterator[str]:
    """An MLflow database of the test's own."""
    shutil.copy(_database, tmp_path / "mlflow.db")
    yield f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def open_run(tracking_uri: str, storage: Storage) -> OpenRun:
    """Open a run: `with open_run() as tracking`, or `open_run(run_id)` for one begun before."""
    return lambda run_id=None: tracked_run(tracking_uri, storage, "tests", "mine", run_id)


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


@pytest.fixture
def new_bundle(backbone: Backbone, tmp_path: Path) -> Callable[..., Path]:
    """Save an untrained model of a sampling rate and a number of crops for the features of `clip-tiny`."""

    def new(sampling_rate: int | None = 1, crops: int = 1) -> Path:
        torch.manual_seed(0)
        config = ModelConfig(embedding_dim=16, heads=2)
        model = AnomalyCLIP(FixedDirections(torch.randn(2, 64)), CLASSES, 2, torch.zeros(64), config)
        card = ModelCard(
            classes=CLASSES, normal_index=2, model=config, backbone=BackboneConfig(),
            backbone_identity=backbone.identity, sampling_rate=sampling_rate, crops=crops,
        )  # fmt: skip
        folder = tmp_path / f"bundle-{sampling_rate}-{crops}"
        save_bundle(folder, model.state_dict(), model.directions(), card)
        return folder

    return new


@pytest.fixture
def bundle(new_bundle: Callable[[int], Path]) -> Path:
    return new_bundle(1)
