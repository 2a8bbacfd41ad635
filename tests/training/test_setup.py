import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip.config import ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.directions import FixedDirections, FreeDirections, PromptDirections
from anomalyclip.model.engineered import engineered_features
from anomalyclip.storage import Storage
from anomalyclip.training.checkpoints import learnt_state
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.training.setup import bags_of, build_directions, build_model, normality_prototype

CLASSES = ["Arson", "Fighting", "Normal"]


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    frames = {"n1": 5, "n2": 3000, "n3": 40, "a1": 100}
    return {name: (generator.normal(size=(count, 8)) * count).astype(np.float16) for name, count in frames.items()}


@pytest.fixture
def cache_of_features(features: dict[str, np.ndarray], storage: Storage, tmp_path: Path) -> FeatureCache:
    store = FeatureStore(storage, "print")
    for name, rows in features.items():
        with FeatureWriter(tmp_path / "file", 1) as writer:
            writer.append(rows[:, None])
            writer.describe({"num_frames": str(len(rows)), "fps": "25.0"})
        store.publish(tmp_path / "file", name)
        store.record([ExtractionResult(f"/{name}", 1, 1, name, len(rows), len(rows), 25.0)])
    return FeatureCache.build(store, {name: f"/{name}" for name in features}, 1.0)


def test_the_prototype_is_the_mean_over_all_frames_of_the_given_videos(
    cache_of_features: FeatureCache, features: dict[str, np.ndarray]
) -> None:
    normal = ["n1", "n2", "n3"]
    expected = np.concatenate([features[name] for name in normal]).astype(np.float64).mean(axis=0)
    found = normality_prototype(cache_of_features, iter(normal))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert torch.equal(found, normality_prototype(cache_of_features, normal[::-1]))


def test_the_prototype_is_the_mean_over_all_crops(
    storage: Storage, put_features: Callable[..., None], features: dict[str, np.ndarray]
) -> None:
    store = FeatureStore(storage, "print")
    put_features(store, "n1", features["n2"].reshape(600, 5, 8))
    put_features(store, "n2", features["n3"].reshape(20, 2, 8))
    found = normality_prototype(FeatureCache.build(store, {"n1": "n1", "n2": "n2"}, 1.0), ["n1", "n2"])
    expected = np.concatenate([features["n2"], features["n3"]]).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_bags_carry_the_place_of_their_first_label_among_the_abnormal_classes() -> None:
    rows = [("v1", "train", ["Fighting", "Arson"]), ("v2", "train", []), ("v3", "test", []), ("v4", "train", ["Arson"])]
    manifest = pl.DataFrame(rows, schema=["video_id", "split", "labels"], orient="row")
    assert bags_of(manifest, "train", CLASSES) == [Bag("v1", 1), Bag("v2", NORMAL_LABEL), Bag("v4", 0)]
    assert bags_of(manifest, "train", ["Arson", "A normal", "Fighting", "Normal"])[0] == Bag("v1", 2)


def test_initial_weights_depend_on_the_seed_alone(backbone: Backbone, config: RunConfig) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(seed)  # what was drawn before plays no part
        training = config.training.model_copy(update={"seed": seed})
        chosen = config.model_copy(update={"training": training})
        return learnt_state(build_model(CLASSES, backbone, torch.zeros(64), chosen))

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "directions.prompt_learner.context"
    assert not torch.equal(first[name], other[name])
    assert first[name].shape == (3, 8, 64)


def test_directions_are_those_of_the_abnormal_classes(backbone: Backbone, config: RunConfig) -> None:
    model = build_model(["Arson", "Normal", "Robbery"], backbone, torch.zeros(64), config)
    assert isinstance(model.directions, PromptDirections)
    assert model.directions.abnormal_indices.tolist() == [0, 2]
    assert (model.normal_index, model.classes) == (1, ("Arson", "Normal", "Robbery"))


def test_engineered_directions_are_the_features_of_the_abnormal_classes(backbone: Backbone) -> None:
    source = build_directions(CLASSES, backbone, 64, ModelConfig(directions="engineered"))
    assert isinstance(source, FixedDirections)
    expected = engineered_features(CLASSES[:2], text_tower(backbone.model), backbone.tokenizer)
    assert torch.equal(source(), expected)


def test_free_directions_are_scaled_like_text_features(backbone: Backbone) -> None:
    classes = [*(f"class{number}" for number in range(300)), "Normal"]
    source = build_directions(classes, backbone, 64, ModelConfig(directions="free"))
    assert isinstance(source, FreeDirections)
    text = engineered_features(classes[:-1], text_tower(backbone.model), backbone.tokenizer)
    assert source().shape == text.shape
    assert source().square().mean().item() == pytest.approx(text.square().mean().item(), rel=0.05)


def test_free_directions_need_no_text_tower(backbone: Backbone) -> None:
    blind = dataclasses.replace(backbone, model=torch.nn.Module())
    source = build_directions(["a", "b", "c", "Normal"], blind, 64, ModelConfig(directions="free"))
    assert source().norm(dim=1).mean().item() == pytest.approx(1, rel=0.2)
    for needing in ("finetuned", "engineered"):
        with pytest.raises(UsageError, match="text tower"):
            build_directions(CLASSES, blind, 64, ModelConfig(directions=needing))
