"""Imported features in the place of extracted ones, through the commands that a user types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from anomalyclip.config import BackboneConfig
from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import feature_fingerprint
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.commands import evaluate, import_features, train

pytestmark = pytest.mark.cluster
QUICK = ("--set", "training.epochs=2", "--set", "training.warmup_epochs=1")
OTHERS = 24
Result = dict[str, Any]


@pytest.fixture(scope="module")
def rooted(ray_session: None, storage_root: Path, options: Sequence[str]) -> Sequence[str]:
    """Options of every training of this file."""
    return ["--storage", str(storage_root), *options, *QUICK]


@pytest.fixture(scope="module")
def extracted(drawn_manifest: Path, rooted: Sequence[str]) -> Result:
    """A training on extracted features."""
    return train([str(drawn_manifest), "--name", "extracted", *rooted])


@pytest.fixture(scope="module")
def copied(
    extracted: Result, drawn_manifest: Path, storage_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name under which the very features of that training were imported."""
    store = FeatureStore(Storage(str(storage_root)), feature_fingerprint(load_backbone(BackboneConfig()), "float32", 1))
    folder = tmp_path_factory.mktemp("copied")
    for video_id, source in load_manifest(drawn_manifest).select("video_id", "source").iter_rows():
        np.save(folder / f"{video_id}.npy", store.read_features(source)[:, 0])
    import_features([str(drawn_manifest), str(folder), "--as", "copied", "--storage", str(storage_root)])
    return "copied"


@pytest.fixture(scope="module")
def others(drawn_manifest: Path, storage_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Features that are not CLIP's, five crops of a snippet of 16 frames, that tell the classes apart."""
    folder = tmp_path_factory.mktemp("others")
    for row in load_manifest(drawn_manifest).iter_rows(named=True):
        generator = np.random.default_rng(sum(row["video_id"].encode()))
        features = generator.normal(size=(5, row["num_frames"] // 16, OTHERS)).astype(np.float32)
        features[:, :, 0] += 2 * len(row["labels"])
        np.save(folder / f"{row['video_id']}.npy", features)
    command = [str(drawn_manifest), str(folder), "--as", "c3d", "--every", "16", "--storage", str(storage_root)]
    assert import_features(command)["crops"] == 5
    return "c3d"


@pytest.fixture(scope="module")
def on_others(others: str, drawn_manifest: Path, rooted: Sequence[str]) -> Result:
    """A training on them, with free directions."""
    settings = ("--set", f"data.features={others}", "--set", "model.directions=free")
    return train([str(drawn_manifest), "--name", "others", *rooted, *settings])


def test_the_same_features_train_the_same_model_wherever_they_come_from(
    extracted: Result, copied: str, drawn_manifest: Path, rooted: Sequence[str], storage_root: Path
) -> None:
    imported = train([str(drawn_manifest), "--name", "copied", *rooted, "--set", f"data.features={copied}"])
    figures = ("auc", "m_auc", "ap")
    assert [imported[name] for name in figures] == [extracted[name] for name in figures]
    ours, theirs = (
        load_file(storage_root / f"runs/{run}/checkpoints/epoch-0001/weights.safetensors")
        for run in ("copied", "extracted")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_features_that_are_not_clips_train_and_score_every_frame(on_others: Result, drawn_manifest: Path) -> None:
    assert on_others["auc"] is not None
    rows = pl.read_parquet(Path(on_others["paths"]["evaluation"]) / "predictions.parquet")
    counts = dict(rows.group_by("video_id").len().iter_rows())
    test = load_manifest(drawn_manifest).filter(pl.col("split") == "test")
    assert counts == dict(test.select("video_id", "num_frames").iter_rows())


def test_a_fixed_number_of_snippets_trains_scores_and_is_found_again(
    drawn_manifest: Path, rooted: Sequence[str], storage_root: Path, tmp_path: Path
) -> None:
    for row in load_manifest(drawn_manifest).iter_rows(named=True):
        features = np.random.default_rng(sum(row["video_id"].encode())).normal(size=(8, OTHERS)).astype(np.float32)
        np.save(tmp_path / f"{row['video_id']}.npy", features)
    root = ["--storage", str(storage_root)]
    given = import_features([str(drawn_manifest), str(tmp_path), "--as", "spread", "--snippets", "8", *root])
    assert (given["snippets"], given["sampling_rate"]) == (8, None)
    settings = ("data.features=spread", "model.directions=free", "model.segments=8", "model.frames_per_segment=1")
    trained = train([str(drawn_manifest), "--name", "spread", *rooted, *(p for s in settings for p in ("--set", s))])
    rows = pl.read_parquet(Path(trained["paths"]["evaluation"]) / "predictions.parquet")
    test = load_manifest(drawn_manifest).filter(pl.col("split") == "test")
    counts = dict(rows.group_by("video_id").len().iter_rows())
    assert counts == dict(test.select("video_id", "num_frames").iter_rows())
    again = evaluate([f"models:/anomalyclip/{trained['model_version']}", str(drawn_manifest), *root])
    assert again["auc"] == trained["auc"] is not None


def test_evaluating_such_a_model_finds_its_features_by_itself(
    on_others: Result, drawn_manifest: Path, storage_root: Path
) -> None:
    model = f"models:/anomalyclip/{on_others['model_version']}"
    again = evaluate([model, str(drawn_manifest), "--storage", str(storage_root)])
    assert again["auc"] == on_others["auc"]


def test_such_a_model_scores_features_but_no_video(
    on_others: Result, drawn_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri(on_others["tracking_uri"])
    model = mlflow.pyfunc.load_model(f"models:/anomalyclip/{on_others['model_version']}")
    scored = model.predict(pd.DataFrame({"features": [np.zeros((3, OTHERS)).tolist()]}))
    assert len(scored["score"][0]) == 3 * 16
    monkeypatch.setenv("ANOMALYCLIP_VIDEO_ROOT", str(drawn_manifest.parent))
    refused = model.predict(pd.DataFrame({"path": [load_manifest(drawn_manifest).item(0, "path")]}))
    assert "give `features`" in refused["error"][0]


def test_a_model_refuses_features_of_another_assertion(
    extracted: Result, on_others: Result, others: str, copied: str, drawn_manifest: Path, storage_root: Path
) -> None:
    root = ["--storage", str(storage_root)]
    with pytest.raises(UsageError, match="understands extracted features only, not those imported as c3d"):
        evaluate([extracted["paths"]["model"], str(drawn_manifest), *root, "--set", f"data.features={others}"])
    with pytest.raises(UsageError, match="understands features imported as c3d, not those imported as copied"):
        evaluate([on_others["paths"]["model"], str(drawn_manifest), *root, "--set", f"data.features={copied}"])


def test_learnt_prompts_refuse_features_of_another_size(
    others: str, drawn_manifest: Path, rooted: Sequence[str]
) -> None:
    with pytest.raises(UsageError, match=r"features have 24 numbers, but .*: set model.directions=free"):
        train([str(drawn_manifest), *rooted, "--set", f"data.features={others}", "--set", "model.directions=finetuned"])


def test_videos_without_imported_features_are_named(
    copied: str, drawn_manifest: Path, rooted: Sequence[str], tmp_path: Path
) -> None:
    whole = load_manifest(drawn_manifest)
    first = whole.item(0, "video_id")
    np.save(tmp_path / f"{first}.npy", np.zeros((whole.item(0, "num_frames"), 8), np.float32))
    import_features([str(drawn_manifest), str(tmp_path), "--as", "few", *rooted[:2]])
    settings = ("--set", "data.features=few", "--set", "model.directions=free")
    with pytest.raises(UsageError, match=f"{whole.height - 1} of {whole.height} videos have no imported features few"):
        train([str(drawn_manifest), "--name", "few", *rooted, *settings])
