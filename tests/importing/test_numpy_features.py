"""What others keep as `.npy` files becomes stored features, or is refused as a whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.features.imported import require_import, with_import_settings
from anomalyclip.features.store import FeatureStore
from anomalyclip.importing.numpy_features import ImportReport, ImportSettings, import_features
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage

DIM = 6
Import = Callable[..., ImportReport]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files of a test lie."""
    (tmp_path / "npy").mkdir()
    return tmp_path / "npy"


@pytest.fixture
def manifest(tmp_path: Path) -> pl.DataFrame:
    """Videos `a` and `b`, of 40 and of unknown frames; the second's file has another name than its id."""
    for name in ("a.mp4", "clip b.mp4"):
        (tmp_path / name).write_bytes(b"a stand-in")
    rows = [("a", "a.mp4", "train", [], [], 40), ("b", "clip b.mp4", "train", ["Fighting"], [], None)]
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), tmp_path / "manifest.csv")
    return load_manifest(tmp_path / "manifest.csv")


@pytest.fixture
def put(manifest: pl.DataFrame, folder: Path, storage: Storage) -> Import:
    """Import the folder's files under the name `i3d`."""

    def run(**settings: Any) -> ImportReport:
        return import_features(manifest, [folder], ImportSettings("i3d", **settings), storage)

    return run


@pytest.fixture
def stored(manifest: pl.DataFrame, storage: Storage) -> Callable[[str], np.ndarray]:
    """Features of a video as they are read back."""
    sources = dict(manifest.select("video_id", "source").iter_rows())
    return lambda video_id: FeatureStore(storage, "imported-i3d").read_features(sources[video_id])


def refusal(put: Import, storage: Storage, **settings: Any) -> str:
    """The message of an import that must be refused, and leaves nothing behind."""
    with pytest.raises(UsageError) as refused:
        put(**settings)
    assert storage.list("features") == []
    return str(refused.value)


def test_a_file_a_video_by_id_or_by_name_of_the_video(put: Import, folder: Path, stored: Any) -> None:
    np.save(folder / "a.npy", a := numbers(40, DIM))
    np.save(folder / "clip b.npy", b := numbers(9, DIM, seed=1).astype(np.float32))
    report = put()
    assert (report.videos, report.without_features, report.dim, report.crops) == (2, [], DIM, 1)
    np.testing.assert_array_equal(stored("a")[:, 0], a)
    np.testing.assert_array_equal(stored("b")[:, 0], b.astype(np.float16))


@pytest.mark.parametrize("layout", ["rows", "crops first", "files"])
def test_crops_are_the_same_however_they_lie(put: Import, folder: Path, stored: Any, layout: str) -> None:
    expected = numbers(40, 10, DIM)
    if layout == "rows":
        np.save(folder / "a.npy", expected.reshape(400, DIM))
    elif layout == "crops first":
        np.save(folder / "a.npy", expected.swapaxes(0, 1))
    else:
        for crop in range(10):
            np.save(folder / f"a__{crop}.npy", expected[:, crop])
    put(crops=10 if layout == "rows" else None)
    np.testing.assert_array_equal(stored("a"), expected)


def test_one_feature_every_16_frames_stands_for_the_last_few_too(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(2, DIM))  # 40 frames: two whole snippets, and eight frames more
    np.save(folder / "b.npy", numbers(3, DIM))
    put(sampling_rate=16)
    counts = FeatureStore(storage, "imported-i3d").index().sort("video").select("frames", "num_frames").rows()
    assert counts == [(2, 40), (3, 48)]


def test_snippets_divide_the_frames_of_every_video(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(32, DIM))
    report = put(sampling_rate=None, snippets=32)
    assert (report.sampling_rate, report.snippets) == (None, 32)
    store = FeatureStore(storage, "imported-i3d")
    assert store.index().select("frames", "num_frames").rows() == [(32, 40)]
    frames = pq.read_table(storage.path(store.index().item(0, "object")))["frame"].to_pylist()
    assert frames == [k * 40 // 32 for k in range(32)]


def test_another_number_of_snippets_or_an_unknown_number_of_frames_is_refused(
    put: Import, folder: Path, storage: Storage
) -> None:
    np.save(folder / "a.npy", numbers(31, DIM))
    np.save(folder / "b.npy", numbers(32, DIM))
    message = refusal(put, storage, sampling_rate=None, snippets=32)
    assert "a.npy: 31 features, not 32 snippets" in message
    assert "b.npy: num_frames is empty in the manifest" in message


def test_videos_without_a_file_are_named_and_can_follow(put: Import, folder: Path) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))
    assert put().without_features == ["b"]
    (folder / "a.npy").unlink()
    np.save(folder / "b.npy", numbers(5, DIM))
    assert put().without_features == []


def test_every_fault_is_named_at_once_and_nothing_is_imported(put: Import, folder: Path, storage: Storage) -> None:
    broken = numbers(40, DIM).astype(np.float32)
    broken[7, 2] = np.nan
    np.save(folder / "a.npy", broken)
    np.save(folder / "b.npy", np.full((5, DIM), 70_000, np.float32))
    np.save(folder / "stranger.npy", numbers(5, DIM))
    message = refusal(put, storage)
    assert "3 fault(s)" in message
    assert "a.npy: nan at frame 7 is not finite" in message
    assert "b.npy: 70000 at frame 0 is beyond float16" in message
    assert "stranger.npy: no video of the manifest is called stranger" in message


def test_an_import_that_breaks_off_leaves_the_name_free_for_another_kind(
    put: Import, folder: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "publish", full)
        with pytest.raises(OSError, match="no space left"):
            put()
    assert storage.list("features") == []
    assert put(sampling_rate=None, snippets=40).snippets == 40


def test_another_dimension_than_most_is_refused(put: Import, folder: Path, storage: Storage, tmp_path: Path) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))
    np.save(folder / "b.npy", numbers(5, DIM + 1))
    assert f"have 1 of {DIM}" in refusal(put, storage)


def test_a_later_import_keeps_to_the_first(put: Import, folder: Path) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))
    put()
    np.save(folder / "b.npy", numbers(5, DIM + 1))
    with pytest.raises(UsageError, match=rf"b.npy: 1 crop\(s\) of {DIM + 1} numbers, .* have 1 of {DIM}"):
        put()
    (folder / "b.npy").unlink()
    with pytest.raises(UsageError, match=r"one per 1 frame\(s\), not one per 16 frame\(s\): import these under"):
        put(sampling_rate=16)
    with pytest.raises(UsageError, match=r"one per 1 frame\(s\), not 40 per video: import these under"):
        put(sampling_rate=None, snippets=40)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([{"code": 1}], dtype=object), "is no plain .npy array"),
        (np.arange(12).reshape(2, 6), "holds int64"),
        (numbers(40), "is neither"),
        (numbers(0, DIM), "holds no features"),
        (numbers(39, DIM), "do not fit the manifest's 40 frames"),
    ],
)
def test_what_is_no_feature_matrix_is_refused(
    put: Import, folder: Path, storage: Storage, array: np.ndarray, reason: str
) -> None:
    np.save(folder / "a.npy", array, allow_pickle=True)
    assert reason in refusal(put, storage)


def test_pickled_objects_are_never_loaded(put: Import, folder: Path, storage: Storage, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    np.save(folder / "a.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    refusal(put, storage)
    assert not (tmp_path / "harmed").exists()


def test_a_missing_crop_is_refused(put: Import, folder: Path, storage: Storage) -> None:
    for crop in (0, 1, 3):
        np.save(folder / f"a__{crop}.npy", numbers(40, DIM))
    assert "are not one file per crop, numbered from 0" in refusal(put, storage)


def test_a_difference_in_frames_must_be_asked_for(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(41, DIM))
    refusal(put, storage)
    put(frame_tolerance=1)


def test_provenance_says_imported(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))
    put(made_by="downloaded in May")
    store = FeatureStore(storage, "imported-i3d")
    known = pq.read_metadata(storage.path(store.index().item(0, "object"))).metadata
    assert known[b"provenance"] == b"imported as i3d; downloaded in May"
    assert known[b"files"] == b"a.npy"


def test_a_configuration_takes_rate_and_crops_from_what_was_imported(
    put: Import, folder: Path, storage: Storage
) -> None:
    np.save(folder / "a.npy", numbers(2 * 5, DIM))
    put(sampling_rate=16, crops=5)
    config = with_import_settings(build_config(RunConfig(), None, ["data.features=i3d"]), storage)
    assert (config.extraction.sampling_rate, config.extraction.crops) == (16, 5)


def test_a_configuration_has_no_rate_where_snippets_were_imported(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(8, DIM))
    put(sampling_rate=None, snippets=8)
    config = with_import_settings(build_config(RunConfig(), None, ["data.features=i3d"]), storage)
    assert config.extraction.sampling_rate is None


def test_an_unknown_name_says_what_there_is(put: Import, folder: Path, storage: Storage) -> None:
    np.save(folder / "a.npy", numbers(40, DIM))
    put()
    with pytest.raises(UsageError, match=r"no features were imported as c3d .*import names there: i3d"):
        require_import(storage, "c3d")
    with pytest.raises(UsageError, match="is no import name"):
        require_import(storage, "../c3d")
