from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomalyclip.errors import JobError, UsageError
from anomalyclip.features.feature_file import ROWS_A_GROUP, FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.sources import Stamp, stamp
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return FeatureStore(storage, "print")


def put(
    store: FeatureStore,
    folder: Path,
    source: str,
    features: np.ndarray,
    rate: int = 1,
    at_once: int = 100,
    content: str = "abc",
) -> ExtractionResult:
    with FeatureWriter(folder / "file.parquet", rate) as writer:
        for start in range(0, len(features), at_once):
            writer.append(features[start : start + at_once])
        writer.describe({"num_frames": str(len(features) * rate), "fps": "25.0"})
    store.publish(folder / "file.parquet", content)
    return ExtractionResult(source, *stamp(source), content, len(features), len(features) * rate, 25.0)


def random_features(frames: int, crops: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, crops, 8)).astype(np.float16)


def test_features_come_back_bit_for_bit(store: FeatureStore, tmp_path: Path) -> None:
    features = random_features(5000)
    store.record([put(store, tmp_path, "/a.mp4", features)])

    assert np.array_equal(store.read_features("/a.mp4"), features)
    assert len(list(store.iterate("/a.mp4"))) > 1


@pytest.mark.parametrize("at_once", [64, 5000])
def test_crops_are_further_rows_that_polars_reads_and_that_come_back(
    store: FeatureStore, tmp_path: Path, at_once: int
) -> None:
    features = random_features(1000, crops=5)
    store.record([put(store, tmp_path, "/a.mp4", features, rate=3, at_once=at_once)])

    assert np.array_equal(store.read_features("/a.mp4"), features)
    rows = pl.read_parquet(store.storage.path(store.object_key("abc")))
    assert rows.schema["crop"] == pl.Int8 and rows["crop"].to_list() == [0, 1, 2, 3, 4] * 1000
    assert rows["frame"].to_list() == [3 * frame for frame in range(1000) for _ in range(5)]
    fifth = rows.filter(pl.col("crop") == 4)["feature"].to_numpy()
    assert np.array_equal(fifth, features[:, 4])
    summary = store.summary("abc")
    assert summary is not None and (summary.frames, summary.num_frames) == (1000, 3000)


@pytest.mark.parametrize("crops", [1, 10])
def test_row_groups_hold_whole_frames_and_about_as_many_rows_whatever_is_written_at_once(
    store: FeatureStore, tmp_path: Path, crops: int
) -> None:
    for at_once in (64, 30_000):
        put(store, tmp_path, "/a.mp4", random_features(30_000 // crops, crops), at_once=at_once)
        metadata = pq.ParquetFile(store.storage.path(store.object_key("abc"))).metadata
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        assert sum(rows) == 30_000 and all(count % crops == 0 for count in rows)
        assert max(rows) < 2 * ROWS_A_GROUP and min(rows[:-1]) >= ROWS_A_GROUP


def test_files_from_before_there_were_crops_stay_readable(store: FeatureStore, tmp_path: Path) -> None:
    features = random_features(10)
    columns = [pa.array(np.arange(10, dtype=np.int32)), pa.array([*features[:, 0]])]
    schema = pa.schema([("frame", pa.int32()), ("feature", pa.list_(pa.float16(), 8))])
    table = pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema)
    pq.write_table(table.replace_schema_metadata({"num_frames": "10", "fps": "25.0"}), tmp_path / "old.parquet")
    store.publish(tmp_path / "old.parquet", "abc")

    assert np.array_equal(store.read_features(store.object_key("abc")), features)
    summary = store.summary("abc")
    assert summary is not None and summary.frames == 10


def test_object_is_plain_uncompressed_parquet_with_a_row_a_frame(store: FeatureStore, tmp_path: Path) -> None:
    put(store, tmp_path, "/a.mp4", random_features(10), rate=3)

    file = pq.ParquetFile(store.storage.path(store.object_key("abc")))

    assert file.schema_arrow.field("frame").type == pa.int32()
    assert file.schema_arrow.field("feature").type.list_size == 8
    assert file.schema_arrow.field("feature").type.value_type == pa.float16()
    assert not file.schema_arrow.field("feature").type.value_field.nullable
    assert file.read()["frame"].to_pylist() == list(range(0, 30, 3))
    assert {file.metadata.row_group(0).column(i).compression for i in (0, 1)} == {"UNCOMPRESSED"}
    assert file.metadata.metadata[b"schema_version"] == b"1"
    assert pl.read_parquet(store.storage.path(store.object_key("abc"))).height == 10


def test_source_is_done_until_its_size_or_time_changes(store: FeatureStore, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"one")
    store.record([put(store, tmp_path, str(video), random_features(10))])
    assert store.missing([str(video)]).is_empty()

    video.write_bytes(b"longer")

    assert store.missing([str(video), str(video)])["video"].to_list() == [str(video)]


def test_quarantined_source_waits_for_a_change_or_a_request(store: FeatureStore, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"bad")
    store.record([ExtractionResult(str(video), *stamp(str(video)), error="broken")])

    assert store.quarantine().select("video", "reason").row(0) == (str(video), "broken")
    assert store.missing([str(video)]).is_empty()
    assert store.missing([str(video)], retry=True).height == 1
    video.write_bytes(b"mended")
    assert store.missing([str(video)]).height == 1


def test_newest_result_decides_between_index_and_quarantine(store: FeatureStore, tmp_path: Path) -> None:
    good = put(store, tmp_path, "/a.mp4", random_features(10))
    bad = ExtractionResult("/a.mp4", *stamp("/a.mp4"), error="broken")

    store.record([good])
    store.record([bad])
    assert (store.index().height, store.quarantine().height) == (0, 1)
    store.record([good])
    assert (store.index().height, store.quarantine().height) == (1, 0)


def test_records_merge_with_what_is_there(store: FeatureStore) -> None:
    for name in ("/a", "/b"):
        store.record([ExtractionResult(name, 1, 2, "abc", 10, 10, 25.0)])

    assert sorted(store.index()["video"]) == ["/a", "/b"]


def test_damaged_or_missing_object_has_no_summary(store: FeatureStore) -> None:
    store.storage.write(store.object_key("bad"), b"not parquet")

    assert store.summary("bad") is None
    assert store.summary("none") is None


@pytest.mark.parametrize("fault", ["a bit", "the end", "all of it"])
def test_damaged_features_are_never_read_and_made_again(store: FeatureStore, tmp_path: Path, fault: str) -> None:
    result = put(store, tmp_path, "/a.mp4", random_features(10))
    store.record([result, put(store, tmp_path, "/b.mp4", random_features(12), content="other")])
    path = Path(store.storage.path(store.object_key(str(result.hash))))
    content = bytearray(path.read_bytes())
    content[content.index(random_features(10)[3].tobytes())] ^= 1
    path.write_bytes({"a bit": content, "the end": content[: len(content) // 2], "all of it": b""}[fault])

    with pytest.raises(JobError, match=r"the features of /a\.mp4 were damaged \(.*the same command makes them again"):
        store.read_features("/a.mp4")
    assert (store.index()["video"].to_list(), path.exists()) == (["/b.mp4"], False)
    assert len(store.read_features("/b.mp4")) == 12


def test_features_that_are_gone_are_made_again(store: FeatureStore, tmp_path: Path) -> None:
    result = put(store, tmp_path, "/a.mp4", random_features(10))
    store.record([result])
    store.storage.delete(store.object_key(str(result.hash)))

    with pytest.raises(JobError, match=r"the features of /a\.mp4 are gone"):
        store.read_features("/a.mp4")
    assert store.index().is_empty()


def test_reading_what_was_not_extracted_names_the_source(store: FeatureStore) -> None:
    with pytest.raises(UsageError, match=r"no features of /x\.mp4"):
        store.read_features("/x.mp4")


def test_file_uri_and_path_of_a_source_have_the_same_stamp(tmp_path: Path) -> None:
    video = tmp_path / "a b.mp4"
    video.write_bytes(b"12345")

    assert stamp(video.as_uri()) == stamp(str(video)) == Stamp(5, video.stat().st_mtime_ns)
    assert stamp(str(tmp_path / "none")) == Stamp(-1, -1)


def test_a_source_forgotten_leaves_its_object(storage: Storage, put_features: Callable[..., None]) -> None:
    store = FeatureStore(storage, "f")
    store.remove_sources(["a.mp4"])
    assert storage.list("features/f") == []
    for video in ("a.mp4", "b.mp4"):
        put_features(store, video, np.ones((2, 3), dtype=np.float16))
    store.remove_sources(["a.mp4", "unknown.mp4"])
    assert store.index()["video"].to_list() == ["b.mp4"]
    assert store.summary("a") is not None
