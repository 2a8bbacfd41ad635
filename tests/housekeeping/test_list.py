from collections.abc import Callable
from typing import Any

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.housekeeping import report
from anomalyclip.housekeeping.inventory import newest
from anomalyclip.jobs import housekeeping
from anomalyclip.storage import Storage, StoredFile
from tests.housekeeping.conftest import Root

Say = Callable[..., None]


def filled(root: Root, mlflow_says: Say) -> Root:
    root.features("f", {"a": root.video("a"), "b": root.video("b"), "orphan": ""})
    root.features("imported-theirs", {"c": root.video("c", exists=False)})
    needs = {"digest": "d", "fingerprint": "f", "backbone": "named", "objects": ["a"]}
    for name in ("first", "second"):
        root.run(f"runs/{name}", needs=needs)
    root.run("evaluations/first", finished=False, needs=needs)
    root.folder("runs/first/checkpoints/epoch-0001")
    for name in ("named", "idle"):
        root.folder(f"backbones/{name}")
    root.storage.write("mlflow/mlflow.db", b"12345")
    root.storage.write("mlflow/artifacts/1/m/model.safetensors", b"12345")
    mlflow_says(deleted=("runs/second",), versions={"ours": "runs/first"})
    return root


def listed(root: Root, *manifests: Any) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in housekeeping.show(root.job(), manifests)["entries"]}


def test_everything_is_listed_with_its_size_and_what_uses_it(any_root: Root, mlflow_says: Say) -> None:
    root = filled(any_root, mlflow_says)
    rows = listed(root)
    used_by = {key: row["used_by"] for key, row in rows.items()}
    assert used_by == {
        "backbones/idle": [],
        "backbones/named": ["evaluations/first", "runs/first", "runs/second"],
        "evaluations/first": [],
        "features/f": ["evaluations/first", "runs/first", "runs/second"],
        "features/imported-theirs": [],
        "mlflow": [],
        "runs/first": ["models:/ours/1 @champion"],
        "runs/second": [],
    }
    assert sum(row["bytes"] for row in rows.values()) == sum(file.size for file in root.storage.files())
    assert sum(row["files"] for row in rows.values()) == len(root.storage.files())
    assert (rows["features/f"]["videos"], rows["features/f"]["objects"]) == (2, 3)
    assert (rows["runs/first"]["checkpoint_bytes"], rows["runs/first"]["model_bytes"]) == (3, 3)
    assert [rows[f"runs/{name}"]["deleted_in_mlflow"] for name in ("first", "second")] == [False, True]
    assert [rows[f"{name}/first"]["finished"] for name in ("runs", "evaluations")] == [True, False]


def test_a_manifest_given_refers_to_the_features_of_its_videos(root: Root, mlflow_says: Say) -> None:
    filled(root, mlflow_says)
    manifest = root.manifest("mine", root.video("c", exists=False))
    assert listed(root, manifest)["features/imported-theirs"]["used_by"] == [str(manifest)]


def test_the_table_has_the_biggest_first_and_says_how_many_it_leaves_out(
    root: Root, mlflow_says: Say, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filled(root, mlflow_says)
    root.storage.write("backbones/named/weights", b"0" * 1_234_567)
    root.touch(days=3)
    monkeypatch.setattr(report, "SHOWN", 1)
    with caplog.at_level("INFO", "anomalyclip"):
        housekeeping.show(root.job(), [])
    _, heading, first, rest, total = [line for line in caplog.messages[0].splitlines() if line]
    assert heading.split() == ["name", "size", "files", "days", "what", "used", "by"]
    assert " ".join(first.split()) == "backbones/named 1.2 MB 4 3.0 evaluations/first, runs/first, runs/second"
    assert (rest, total) == ("  and 7 more, smaller ones", "  1.2 MB in all")


def test_a_big_root_is_listed_at_once_and_no_object_is_opened(
    object_root: Root, mlflow_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = filled(object_root, mlflow_says)
    listings, reads, lists = [], [], Storage.files
    read, handler = Storage.read, root.storage.filesystem.handler

    def counted(storage: Storage) -> Any:
        listings.append(1)
        return lists(storage)

    def noted(storage: Storage, key: str) -> bytes:
        reads.append(key)
        return read(storage, key)

    def no_request(paths: Any) -> Any:
        raise AssertionError(f"asked for {paths}")

    monkeypatch.setattr(Storage, "files", counted)
    monkeypatch.setattr(Storage, "read", noted)
    monkeypatch.setattr(handler, "get_file_info", no_request)
    housekeeping.show(root.job(), [])
    assert len(listings) == 1
    small = {"run.json", "mlflow.json", "features.json", "index.parquet"}
    assert len(reads) == 3 * 3 + 2
    assert {key.rpartition("/")[2] for key in reads} == small


def test_without_mlflow_the_list_says_that_references_are_unknown(
    root: Root, mlflow_says: Say, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filled(root, mlflow_says)

    def unreachable(uri: str) -> None:
        raise UsageError(f"MLflow at {uri}: nothing answers there")

    monkeypatch.setattr(housekeeping, "tracked_state", unreachable)
    result = housekeeping.show(root.job(), [])
    assert not result["uses_known"]
    assert {row["used_by"] for row in result["entries"]} == {None}
    assert "what uses what is unknown: MLflow at http://mlflow: nothing answers there" in caplog.text


def test_a_root_that_is_not_there_is_refused(root: Root) -> None:
    with pytest.raises(UsageError, match="there is no storage root"):
        housekeeping.show(root.job(), [])


def test_a_thing_whose_time_is_not_known_of_every_file_has_none() -> None:
    assert newest([StoredFile("a", 1, 5.0), StoredFile("b", 1, 7.0)]) == 7.0
    assert newest([StoredFile("a", 1, 5.0), StoredFile("b", 1, None)]) is None
    assert newest([]) is None
