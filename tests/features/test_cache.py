import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.features import cache
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage

MANY_GIGABYTES = 10.0
Fill = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return FeatureStore(storage, "print")


@pytest.fixture
def fill(store: FeatureStore, put_features: Callable[..., None]) -> Fill:
    """Store features of videos of given lengths under their names as sources and hashes."""

    def fill(**lengths: int) -> dict[str, np.ndarray]:
        generator, features = np.random.default_rng(0), {}
        for name, frames in lengths.items():
            features[name] = generator.normal(size=(frames, 8)).astype(np.float16)
            put_features(store, name, features[name])
        return features

    return fill


def test_cache_gives_what_the_store_holds(store: FeatureStore, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SHARD_BYTES", 1000)
    features = fill(a=50, b=70, c=3, d=200)
    built = FeatureCache.build(store, {f"id-{name}": name for name in features}, MANY_GIGABYTES)

    assert built.dim == 8
    assert len(list(built.folder.glob("*.bin"))) > 1
    for name, expected in features.items():
        assert built.num_frames(f"id-{name}") == built.video_frames(f"id-{name}") == len(expected)
        assert np.array_equal(built.video(f"id-{name}"), expected[:, None])
        assert np.allclose(built.feature_sum(f"id-{name}"), expected.astype(np.float64).sum(axis=0))
    indices = np.array([[0, 5], [49, 5]])
    assert np.array_equal(built.gather("id-a", indices, 0), features["a"][indices])


def test_cache_gives_each_crop_its_own_features(
    store: FeatureStore, put_features: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SHARD_BYTES", 1000)
    shapes = {"a": (900, 5, 8), "b": (7, 5, 8), "c": (20, 1, 8)}
    features = {name: np.random.default_rng(0).normal(size=shape).astype(np.float16) for name, shape in shapes.items()}
    for name, expected in features.items():
        put_features(store, name, expected)
    built = FeatureCache.build(store, {name: name for name in features}, MANY_GIGABYTES)

    for name, expected in features.items():
        assert (built.num_frames(name), built.crops(name)) == expected.shape[:2]
        assert np.array_equal(built.video(name), expected)
        assert np.allclose(built.feature_sum(name), expected.astype(np.float64).sum(axis=(0, 1)))
    indices = np.array([[0, 5], [6, 5]])
    for crop in range(5):
        assert np.array_equal(built.gather("b", indices, crop), features["b"][indices, crop])


def test_crops_count_for_the_limit(store: FeatureStore, put_features: Callable[..., None]) -> None:
    put_features(store, "a", np.zeros((100, 10, 8), np.float16))

    with pytest.raises(UsageError, match=r"cache\.max_gigabytes"):
        FeatureCache.build(store, {"v": "a"}, max_gigabytes=15_000 / 1e9)


def test_cache_is_built_once(store: FeatureStore, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(a=5, b=7)
    first = FeatureCache.build(store, {"x": "a", "y": "b"}, MANY_GIGABYTES)
    monkeypatch.setattr(cache, "_build", None)

    again = FeatureCache.build(store, {"other": "b", "same": "b", "ids": "a"}, MANY_GIGABYTES)

    assert again.folder == first.folder
    assert again.num_frames("same") == 7


def test_caches_used_longest_ago_give_way_but_never_one_in_use(store: FeatureStore, fill: Fill) -> None:
    fill(a=1000, b=1001, c=1002, d=1003)
    in_use = FeatureCache.build(store, {"v": "a"}, MANY_GIGABYTES)
    folders = [FeatureCache.build(store, {"v": name}, MANY_GIGABYTES).folder for name in "bc"]
    for age, folder in enumerate([*reversed(folders), in_use.folder]):
        os.utime(folder, (10 - age, 10 - age))

    newest = FeatureCache.build(store, {"v": "d"}, max_gigabytes=60_000 / 1e9)

    existing = {folder for folder in in_use.folder.parent.iterdir() if folder.is_dir()}
    assert existing == {in_use.folder, folders[1], newest.folder}


def test_videos_without_features_are_named(store: FeatureStore, fill: Fill) -> None:
    fill(a=5)

    with pytest.raises(UsageError, match=r"1 of 2 videos have no features.*lost"):
        FeatureCache.build(store, {"kept": "a", "lost": "nowhere"}, MANY_GIGABYTES)


def test_cache_beyond_the_limit_is_refused(store: FeatureStore, fill: Fill) -> None:
    fill(a=1000)

    with pytest.raises(UsageError, match=r"cache\.max_gigabytes"):
        FeatureCache.build(store, {"v": "a"}, max_gigabytes=1e-6)


def test_build_that_was_killed_is_started_anew(store: FeatureStore, fill: Fill) -> None:
    features = fill(a=5)
    folder = FeatureCache.build(store, {"v": "a"}, MANY_GIGABYTES).folder
    partial = folder.rename(folder.with_suffix(".partial"))
    (partial / "features-00000.bin").write_bytes(b"half")

    again = FeatureCache.build(store, {"v": "a"}, MANY_GIGABYTES)

    assert np.array_equal(again.video("v"), features["a"][:, None])
    assert not partial.exists()
