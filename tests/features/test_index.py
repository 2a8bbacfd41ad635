"""What the index of a feature store promises: the newest result of each video, whoever writes, and whenever it dies."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from anomalyclip.features import index as index_module
from anomalyclip.features.index import PARTS, ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return FeatureStore(storage, "print")


def good(name: str, frames: int = 10) -> ExtractionResult:
    return ExtractionResult(name, 1, 2, f"hash of {name}", frames, frames, 25.0)


def bad(name: str) -> ExtractionResult:
    return ExtractionResult(name, 1, 2, error=f"{name} is broken")


def frames(store: FeatureStore) -> dict[str, int]:
    return dict(store.index().select("video", "frames").iter_rows())


def parts(store: FeatureStore) -> list[str]:
    return store.storage.list(f"{store.key}/{PARTS}")


def test_a_result_is_seen_at_once_and_after_a_merge_every_reader_of_parquet_sees_it(store: FeatureStore) -> None:
    with store.merging():
        for number in range(5):
            store.record([good(f"/{number}")])
        store.record([bad("/3"), good("/1", 7), good("/new")])
        assert parts(store)
        before = store.index(), store.quarantine()
    assert not parts(store)
    assert before[0].equals(store.index()) and before[1].equals(store.quarantine())
    assert before[0]["video"].to_list() == ["/0", "/2", "/4", "/1", "/new"]  # as they came
    plain = pl.read_parquet(store.storage.path(f"{store.key}/index.parquet"))
    assert plain.equals(store.index()) and frames(store)["/1"] == 7
    assert pl.read_parquet(store.storage.path(f"{store.key}/quarantine.parquet"))["video"].to_list() == ["/3"]


def test_a_result_costs_the_same_however_many_there_are(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.record([good(str(number)) for number in range(1000)])
    written = list[int]()
    monkeypatch.setattr(Storage, "read", lambda *_: pytest.fail("read the index"))
    monkeypatch.setattr(Storage, "write", lambda storage, key, content: written.append(len(content)))
    for number in range(100):
        store.record([good(f"new {number}")])
    assert len(written) == 100 and max(written) - min(written) < 50


def test_parts_are_merged_before_there_are_too_many(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_PARTS", 10)
    for number in range(100):
        store.record([good(str(number))])
        assert len(parts(store)) <= 10
    assert frames(store) == {str(number): 10 for number in range(100)}


class Killed(BaseException):
    """What ends a job at once."""


@pytest.mark.parametrize("step", range(9))
def test_a_job_killed_at_any_step_of_a_merge_loses_nothing(
    step: int, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record([good("/a"), good("/b")])
    for results in ([bad("/a")], [good("/a", 3)], [good("/c")], [bad("/d")]):
        store.record(results)
    expected = store.index(), store.quarantine()
    steps = iter(range(100))

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", dying(Storage.write))
        patch.setattr(Storage, "delete", dying(Storage.delete))
        try:
            with store.merging():
                pass
        except Killed:
            assert step < 6
    after = FeatureStore(store.storage, "print")
    assert [table.sort("video").equals(other.sort("video")) for table, other in
            zip((after.index(), after.quarantine()), expected, strict=True)] == [True, True]  # fmt: skip
    with after.merging():
        pass
    assert not parts(after) and after.index().sort("video").equals(expected[0].sort("video"))


def test_a_merge_starts_again_when_another_job_has_merged_meanwhile(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FeatureStore(store.storage, "print")
    store.record([good("/a")])
    store.record([good("/b")])
    read, meanwhile = Storage.read, iter([True])

    def slow(storage: Storage, key: str) -> bytes:
        content = read(storage, key)
        if key.endswith("index.parquet") and next(meanwhile, False):
            with other.merging():
                other.record([good("/c")])
        return content

    monkeypatch.setattr(Storage, "read", slow)
    with store.merging():
        pass
    assert set(frames(store)) == {"/a", "/b", "/c"}


def test_a_damaged_part_costs_its_own_rows_alone(store: FeatureStore) -> None:
    store.record([good("/a")])
    store.record([good("/b")])
    store.storage.write(f"{store.key}/{PARTS}/0-damaged.parquet", b"PAR1 and no more")
    assert set(frames(store)) == {"/a", "/b"}


def test_housekeeping_takes_a_source_out_of_parts_too_and_never_makes_a_loss_final(store: FeatureStore) -> None:
    store.record([good("/a")])
    store.record([good("/b"), good("/c")])
    store.remove_sources(["/b"])
    assert set(frames(store)) == {"/a", "/c"}
    store.record([good("/d")])
    store.storage.write(f"{store.key}/index.parquet", b"damaged")
    keys = [f"{store.key}/{PARTS}/{name}" for name in parts(store)]
    assert store.listed_index(keys) is None
    store.remove_sources(["/d"])
    assert store.storage.read(f"{store.key}/index.parquet") == b"damaged"


def test_a_listing_of_the_store_tells_its_parts(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.record([good("/a")])
    store.record([good("/b")])
    keys = [file.key for file in store.storage.files()]
    monkeypatch.setattr(Storage, "list", lambda *_: pytest.fail("asked again"))
    found = store.listed_index(keys)
    assert found is not None and set(found["video"]) == {"/a", "/b"}
