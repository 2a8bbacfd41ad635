import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.housekeeping.scratch_space import clear, idle_places, places
from anomalyclip.storage import Storage
from tests.conftest import PutFeatures

DAY = 86_400
WEEK_AGO = time.time() - 7 * DAY


@pytest.fixture
def folder(_own_scratch: Path) -> Path:
    """A scratch folder with one of each kind, a month old, and a stranger's file."""
    for name in ("models/m-1/model.json", "predictions/r/p.parquet", "pictures/x/pixels.npy", "cache/k.partial/a",
                 "tmpabc/model/x", "extract-1/v.parquet", "anomalyclip-frames-1", "benchmark/manifest.csv",
                 "notes.txt"):  # fmt: skip
        (_own_scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (_own_scratch / name).write_text("123")
    age(_own_scratch)
    return _own_scratch


@pytest.fixture
def cache(storage: Storage, put_features: PutFeatures, folder: Path) -> Iterator[FeatureCache]:
    """A cache that this process uses."""
    store = FeatureStore(storage, "f")
    put_features(store, "a.mp4", np.ones((3, 4), dtype=np.float16))
    yield FeatureCache.build(store, {"a": "a.mp4"}, 1)


def age(path: Path, days: float = 30) -> None:
    then = time.time() - days * DAY
    for part in (path, *path.rglob("*")):
        os.utime(part, (then, then))


def names(folder: Path) -> list[str]:
    return [place.name for place in idle_places(folder, WEEK_AGO)]


IDLE = ["anomalyclip-frames-1", "cache/k.partial", "extract-1", "models/m-1", "pictures/x", "predictions/r", "tmpabc"]


def test_what_jobs_left_and_what_is_made_again_goes_and_the_rest_stays(folder: Path) -> None:
    assert names(folder) == IDLE
    assert all(map(clear, idle_places(folder, WEEK_AGO)))
    assert names(folder) == []
    assert [place.name for place in places(folder)] == ["benchmark", "notes.txt"]


@pytest.mark.parametrize("name", ["models/m-1/model.json", "tmpabc/model/x", "tmpabc", "anomalyclip-frames-1"])
def test_what_was_changed_lately_stays(folder: Path, name: str) -> None:
    os.utime(folder / name)
    assert not any(name.startswith(other) for other in names(folder))


def test_a_cache_in_use_stays_and_goes_when_it_is_not(cache: FeatureCache, folder: Path) -> None:
    kept = cache.folder
    age(folder)
    assert f"cache/{kept.name}" not in names(folder)
    shown = {place.name: place.in_use for place in places(folder)}
    assert shown[f"cache/{kept.name}"]
    found = next(place for place in places(folder) if place.path == kept)
    assert not clear(found)
    assert kept.is_dir()


def test_an_unused_cache_goes_after_a_while_and_not_before(cache: FeatureCache, folder: Path) -> None:
    name, lock = f"cache/{cache.folder.name}", cache._lock
    cache._lock = os.open(os.devnull, os.O_RDONLY)
    os.close(lock)
    assert name not in names(folder)
    age(folder)
    assert name in names(folder)
    place = next(place for place in places(folder) if place.name == name)
    with FileLock(folder / "cache" / "build.lock"):
        assert not clear(place)  # a build may be about to use it
    assert clear(place)
    assert not place.path.exists()


def test_sizes_are_those_of_the_files(folder: Path) -> None:
    found = {place.name: (place.files, place.size) for place in places(folder)}
    assert found["models/m-1"] == found["anomalyclip-frames-1"] == (1, 3)
