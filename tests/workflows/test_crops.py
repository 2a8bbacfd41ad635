"""Five crops a frame, end to end: extraction, training, evaluation and serving."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from anomalyclip.data.manifest import load_manifest
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.store import FeatureStore
from anomalyclip.methods import load_bundle
from anomalyclip.storage import Storage
from tests.commands import evaluate, train

pytestmark = pytest.mark.cluster
RATE = 6
CROPS = ["--set", "extraction.crops=5", "--set", f"extraction.sampling_rate={RATE}"]
Result = dict[str, Any]


@pytest.fixture(scope="module")
def result(
    ray_session: None, drawn_manifest: Path, tmp_path_factory: pytest.TempPathFactory, options: Sequence[str]
) -> Result:
    root = tmp_path_factory.mktemp("crops")
    short = ["--set", "training.epochs=2"]
    return train([str(drawn_manifest), "--storage", str(root), "--name", "crops", *options, *short, *CROPS])


@pytest.fixture(scope="module")
def storage(result: Result) -> Storage:
    return Storage(str(Path(result["paths"]["run"]).parent.parent))


@pytest.fixture
def video(drawn_manifest: Path) -> dict[str, Any]:
    """A test video's row of the manifest."""
    return load_manifest(drawn_manifest).filter(pl.col("split") == "test").row(0, named=True)


def crops_of(storage: Storage, video: dict[str, Any]) -> Sequence[torch.Tensor]:
    """The stored features `(stored frames, dim)` of each crop of a video."""
    (fingerprint,) = {name.split("/")[0] for name in storage.list("features")}
    features = FeatureStore(storage, fingerprint).read_features(video["source"])
    assert features.shape[:2] == (-(-video["num_frames"] // RATE), 5)
    return torch.from_numpy(features).unbind(dim=1)


def scores_of(predictions: Predictions, video: dict[str, Any]) -> np.ndarray:
    """The score of every `RATE`-th frame of a video."""
    return predictions.scores[predictions.frames_of(predictions.video_ids.index(video["video_id"]))][::RATE]


def test_figures_are_those_of_the_mean_over_the_stored_crops(
    result: Result, storage: Storage, video: dict[str, Any]
) -> None:
    model, card = load_bundle(Path(result["paths"]["model"]))
    expected = np.mean([model.score_video(crop).scores for crop in crops_of(storage, video)], axis=0)
    assert card.crops == 5
    found = read_predictions(Path(result["paths"]["evaluation"]) / "predictions.parquet")
    np.testing.assert_allclose(scores_of(found, video), expected, atol=1e-5)


def test_the_models_own_crops_are_taken_wherever_it_is_used(
    result: Result, storage: Storage, video: dict[str, Any], drawn_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = evaluate([result["paths"]["model"], str(drawn_manifest), "--storage", storage.root])
    assert (again["auc"], again["m_auc"]) == (result["auc"], result["m_auc"])
    monkeypatch.setenv("ANOMALYCLIP_VIDEO_ROOT", str(drawn_manifest.parent))
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", storage.root)
    served = mlflow.pyfunc.load_model(f"models:/anomalyclip/{result['model_version']}")
    scores = served.predict(pd.DataFrame({"path": [video["path"]]}))["score"][0]
    found = read_predictions(Path(result["paths"]["evaluation"]) / "predictions.parquet")
    np.testing.assert_allclose(scores[::RATE], scores_of(found, video), atol=1e-5)


def test_zero_shot_scores_are_the_means_over_the_crops(
    result: Result, storage: Storage, video: dict[str, Any], drawn_manifest: Path
) -> None:
    done = evaluate(["zero-shot", str(drawn_manifest), "--storage", storage.root, *CROPS])
    found = read_predictions(Path(done["paths"]["evaluation"]) / "predictions.parquet")
    _, card = load_bundle(Path(result["paths"]["model"]))
    model = zero_shot(load_stored_backbone(storage, card.backbone_identity or ""), found.classes)
    expected = np.mean([model.score(crop)[0] for crop in crops_of(storage, video)], axis=0)
    np.testing.assert_allclose(scores_of(found, video), expected, atol=1e-5)
