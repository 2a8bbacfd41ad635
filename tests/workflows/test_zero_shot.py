"""Zero-shot CLIP in the place of a model, end to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip.config import BackboneConfig
from anomalyclip.data.manifest import load_manifest
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import feature_fingerprint
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.commands import evaluate

pytestmark = pytest.mark.cluster
Result = dict[str, Any]
Evaluate = Callable[[], Result]


@pytest.fixture(scope="module")
def again(ray_session: None, drawn_manifest: Path, storage_root: Path) -> Evaluate:
    """The same command, whenever it is called."""
    return lambda: evaluate(["zero-shot", str(drawn_manifest), "--storage", str(storage_root)])


@pytest.fixture(scope="module")
def result(again: Evaluate) -> Result:
    return again()


def test_predictions_are_those_of_the_stored_features(result: Result, drawn_manifest: Path, storage_root: Path) -> None:
    found = read_predictions(Path(result["paths"]["evaluation"]) / "predictions.parquet")
    backbone = load_backbone(BackboneConfig())
    model = zero_shot(backbone, ("Explosion", "Fighting", "Normal"))
    assert (found.classes, found.digests.model) == (model.classes, model.digest)
    store = FeatureStore(Storage(str(storage_root)), feature_fingerprint(backbone, "float32", 1))
    test = load_manifest(drawn_manifest).filter(pl.col("split") == "test")
    assert set(found.video_ids) == set(test["video_id"])
    sources = dict(test.select("video_id", "source").iter_rows())
    for index, video_id in enumerate(found.video_ids):
        scores, probabilities = model.score(torch.from_numpy(store.read_features(sources[video_id])[:, 0]))
        frames = found.frames_of(index)
        np.testing.assert_allclose(found.scores[frames], scores, atol=1e-6)
        np.testing.assert_allclose(found.probabilities[frames], probabilities, atol=1e-6)


def test_it_says_what_it_needs_of_the_storage_root(result: Result, drawn_manifest: Path, storage_root: Path) -> None:
    needs = Storage(str(storage_root)).read_json(f"evaluations/{result['run']}/features.json")
    identity = load_backbone(BackboneConfig()).identity
    assert (needs["backbone"], needs["manifest"]) == (identity, str(drawn_manifest.resolve()))
    index = FeatureStore(Storage(str(storage_root)), needs["fingerprint"]).index()
    test = load_manifest(drawn_manifest).filter(pl.col("split") == "test")
    assert needs["objects"] == sorted(set(index.join(test, left_on="video", right_on="source")["hash"]))


def test_its_run_in_mlflow_is_recognisable_and_has_what_a_models_has(result: Result) -> None:
    client = mlflow.MlflowClient(result["tracking_uri"])
    run = client.get_run(result["run_id"])
    assert (run.info.status, run.data.tags["model_kind"]) == ("FINISHED", "zero-shot")
    assert run.data.tags["prompt"] == "a video from a CCTV camera of a {}"
    assert run.data.metrics["auc"] == result["auc"]
    assert {"m_auc", "ap", "m_ap", "video_auc", "auc/Fighting"} <= run.data.metrics.keys()
    names = {item.path for item in client.list_artifacts(result["run_id"], "evaluation/plots")}
    assert "evaluation/plots/timelines.png" in names


def test_a_finished_zero_shot_evaluation_answers_with_its_result(
    result: Result, again: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyclip.jobs.evaluation.tracked", None)  # nothing may be begun
    assert again() == result
