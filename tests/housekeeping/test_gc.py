import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.jobs import housekeeping
from anomalyclip.storage import COMPLETE, Storage
from tests.housekeeping.conftest import MLFLOW, Root

Say = Callable[..., None]

WHOLE = ("one", "two", COMPLETE)
LEFT_PARTS = ("frames.parquet", "part-00000.parquet", "part-00001.parquet.0123abcd.partial")
GARBAGE = {
    "features/f/orphan.parquet",
    "features/f/gone.parquet",
    "features/f/here.parquet.0123abcd.partial",
    *(f"features/f/long/left-0123/{name}" for name in LEFT_PARTS),
    *(f"backbones/idle/{name}" for name in WHOLE),
    *(f"backbones/torn/{name}" for name in ("one", "two")),
    *(f"runs/done/{part}epoch-0003/{name}" for part in ("checkpoints/", "final/checkpoints/")
      for name in WHOLE),
    *(f"runs/done/checkpoints/epoch-0004/{name}" for name in ("one", "two")),
    *(f"runs/deleted/{name}.json" for name in ("run", "features", "mlflow", "result")),
    *(f"runs/deleted/{part}/{name}" for part in ("model", "checkpoints/epoch-0001") for name in WHOLE),
    *(f"runs/half/{part}/{name}" for part in ("model", "checkpoints/epoch-0002") for name in ("one", "two")),
    *(f"ablations/table/trials/a/checkpoints/epoch-0001/{name}" for name in WHOLE),
    *(f"trials/lonely/{name}.json" for name in ("run", "features", "mlflow")),
    *(f"trials/lonely/checkpoints/epoch-0001/{name}" for name in WHOLE),
    *(f"trials/named/checkpoints/epoch-0001/{name}" for name in WHOLE),
    *(f"pretraining/tiny/checkpoints/epoch-0009/{name}" for name in WHOLE),
}  # fmt: skip
"""All that nobody names in the root with one of each kind."""


@pytest.fixture
def of_each_kind(root: Root, mlflow_says: Say) -> Root:
    """A root with what is named, in doubt, young and of nobody, of each kind; its given manifest names `given`."""
    return build(root, mlflow_says)


def build(root: Root, mlflow_says: Say) -> Root:
    manifest = root.manifest("of-run", root.video("of-manifest", exists=False))
    root.manifest("given", root.video("given", exists=False))
    contents = {name: root.video(name, exists=False) for name in ("gone", "of-run", "of-manifest", "given")}
    contents |= {"unmounted": root.video("unmounted", False, "elsewhere"), "here": root.video("here")}
    root.features("f", {**contents, "orphan": "", "replaced": ""})
    root.features("imported-theirs", {"theirs": root.video("theirs", exists=False)})
    root.features("lost", {"x": "", "y": ""})
    root.storage.write("features/f/here.parquet.0123abcd.partial", b"f")
    for name in LEFT_PARTS:
        root.storage.write(f"features/f/long/left-0123/{name}", b"f")
    needs = {"digest": "d", "fingerprint": "f", "backbone": "of-run", "objects": ["of-run", "replaced"]}
    root.run("runs/done", needs={**needs, "manifest": str(manifest)})
    for part in ("runs/done/checkpoints", "runs/done/final/checkpoints"):
        root.folder(f"{part}/epoch-0003")
    root.folder("runs/done/checkpoints/epoch-0004", whole=False)
    root.folder("runs/done/evaluation", whole=False)
    for name in ("deleted", "versioned"):
        root.run(f"runs/{name}")
        root.folder(f"runs/{name}/checkpoints/epoch-0001")
    root.storage.delete("runs/versioned/checkpoints")
    root.run("runs/half", finished=False)
    root.folder("runs/half/checkpoints/epoch-0001")
    for part in ("model", "checkpoints/epoch-0002"):
        root.folder(f"runs/half/{part}", whole=False)
    root.run("runs/unpublished")
    root.folder("runs/unpublished/checkpoints/epoch-0001")
    root.storage.delete("runs/unpublished/model")
    root.run("ablations/table")
    root.trials("ablations/table", "a")
    root.run("ablations/table/trials/a")
    root.storage.delete("ablations/table/trials/a/mlflow.json")
    root.folder("ablations/table/trials/a/checkpoints/epoch-0001")
    root.run("searches/grid")
    root.trials("searches/grid", "named")
    for name, finished in (("named", True), ("lonely", False)):
        root.run(f"trials/{name}", finished=finished)
        root.folder(f"trials/{name}/checkpoints/epoch-0001")
    root.run("pretraining/tiny")
    root.storage.write("pretraining/tiny/clip-tiny.safetensors", b"w")
    root.folder("pretraining/tiny/checkpoints/epoch-0009")
    root.run("imports/theirs", content={"card": {"backbone_identity": "of-import"}})
    for name in ("idle", "of-run", "of-import", "of-version"):
        root.folder(f"backbones/{name}")
    root.folder("backbones/torn", whole=False)
    for key in ("mlflow/mlflow.db", "benchmark/clips/a.mp4", "notes.txt", "mine/a/checkpoints/epoch-1/x"):
        root.storage.write(key, b"")
    root.touch()
    mlflow_says(
        deleted=("runs/deleted", "runs/versioned", "ablations/table"),
        versions={"ours": "runs/versioned", "foreign": "a run of another root"},
    )
    return root


def given(root: Root) -> Path:
    return root.videos / "given.csv"


def removed(result: dict[str, Any]) -> set[str]:
    return {key for row in result["removed"] for key in row["removed"]}


def videos(root: Root, fingerprint: str = "f") -> set[str]:
    index = pl.read_parquet(root.storage.path(f"features/{fingerprint}/index.parquet"))
    return {Path(video).stem for video in index["video"]}


def test_a_dry_run_names_what_nobody_names_and_removes_nothing(of_each_kind: Root) -> None:
    before = of_each_kind.state()
    result = of_each_kind.gc(given(of_each_kind), dry_run=True)
    assert removed(result) == GARBAGE
    assert result["doubts"] == []
    assert of_each_kind.state() == before


def test_what_a_dry_run_names_is_what_goes_and_then_there_is_nothing_more(of_each_kind: Root) -> None:
    root, before = of_each_kind, of_each_kind.keys()
    named = root.gc(given(root), dry_run=True)
    assert root.gc(given(root)) == {**named, "dry_run": False}
    assert before - root.keys() == GARBAGE
    assert videos(root) == {"of-run", "of-manifest", "given", "unmounted", "here"}
    state = root.state()
    again = root.gc(given(root))
    assert (again["removed"], again["bytes"], root.state()) == ([], 0, state)


def test_a_manifest_keeps_the_features_of_its_videos(of_each_kind: Root) -> None:
    assert removed(of_each_kind.gc()) == GARBAGE | {"features/f/given.parquet"}
    assert "given" not in videos(of_each_kind)


def whole(root: Root) -> None:
    """Check what jobs rely on: rows name objects, markers whole folders, results a model."""
    keys = root.keys()
    for index in (key for key in keys if key.endswith("/index.parquet")):
        assert keys >= set(pl.read_parquet(root.storage.path(index))["object"])
    for marker in (key for key in keys if key.endswith(f"/{COMPLETE}")):
        assert {marker.replace(COMPLETE, name) for name in ("one", "two")} <= keys
    for key in (key for key in keys if key.endswith("/result.json") and "unpublished" not in key):
        assert key.replace("result.json", f"model/{COMPLETE}") in keys


class Killed(BaseException):
    pass


def test_killed_anywhere_and_run_again_it_ends_as_an_unbroken_one(
    tmp_path: Path, mlflow_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = build(Root(Storage(str(tmp_path / "root")), tmp_path / "videos"), mlflow_says)
    shutil.copytree(tmp_path / "root", tmp_path / "pattern", copy_function=os.link)
    pattern.gc(given(pattern))
    unbroken, delete, left = pattern.state(), Storage.delete, 0

    def killed(storage: Storage, key: str) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            return delete(storage, key)
        files = [path for path in Path(storage.path(key)).rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda path: (path.name != "mlflow.json", path.name == COMPLETE, path))[:1]:
            file.unlink()  # a folder goes file by file, the worst one first
        raise Killed

    for number in range(0, 300, 3):  # every third step, for time
        shutil.rmtree(tmp_path / "root")
        shutil.copytree(tmp_path / "pattern", tmp_path / "root", copy_function=os.link)
        left = number
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "delete", killed)
            try:
                pattern.gc(given(pattern))
                break
            except Killed:
                whole(pattern)
        pattern.gc(given(pattern))
        assert pattern.state() == unbroken, number
    assert number > 30


YOUNG = {
    "a run that was deleted in MLflow": ("runs/deleted/checkpoints/epoch-0001/one", "runs/deleted/run.json"),
    "an upload into a run": ("runs/half/model/one", "runs/half/"),
    "a checkpoint of a run with a torn upload": ("runs/half/checkpoints/epoch-0001/one", "runs/half/"),
    "a trial": ("trials/lonely/checkpoints/epoch-0001/two", "trials/lonely/"),
    "an upload of a backbone": ("backbones/torn/one", "backbones/torn/"),
    "a backbone": ("backbones/idle/one", "backbones/idle/"),
    "an object": ("features/f/orphan.parquet",) * 2,
    "features of a removed video": ("features/f/gone.parquet",) * 2,
    "a part of a long video": (
        "features/f/long/left-0123/frames.parquet",
        "features/f/long/left-0123/part-00000.parquet",
    ),
    "a partial file": ("features/f/here.parquet.0123abcd.partial",) * 2,
}


@pytest.mark.parametrize("touched, stays", YOUNG.values(), ids=YOUNG.keys())
def test_what_was_changed_lately_stays(of_each_kind: Root, touched: str, stays: str) -> None:
    of_each_kind.touch(touched, days=6.9)
    assert not any(key.startswith(stays) for key in removed(of_each_kind.gc(given(of_each_kind))))
    of_each_kind.touch()
    assert any(key.startswith(stays) for key in removed(of_each_kind.gc(given(of_each_kind))))


@pytest.mark.parametrize("key", ["features/f/quarantine.parquet", "features/imported-theirs/x", "runs/half/run.json"])
def test_backbones_stay_while_jobs_are_at_work(of_each_kind: Root, key: str) -> None:
    if not of_each_kind.storage.exists(key):
        of_each_kind.storage.write(key, b"")
    of_each_kind.touch(key, days=0)
    result = of_each_kind.gc(given(of_each_kind))
    assert "backbones/idle/one" not in removed(result)
    assert "jobs ran recently" in " ".join(result["doubts"])


def test_an_extraction_at_work_keeps_its_index_as_it_is(of_each_kind: Root) -> None:
    of_each_kind.touch("features/f/here.parquet", days=0)
    assert removed(of_each_kind.gc()).isdisjoint({"features/f/gone.parquet", "features/f/given.parquet"})
    assert {"gone", "given"} <= videos(of_each_kind)


def test_limits_below_a_day_are_refused(root: Root) -> None:
    with pytest.raises(UsageError, match=r"--older-than 0\.5: a job may be using"):
        root.gc(days=0.5)


def test_without_mlflow_nothing_is_removed(of_each_kind: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(uri: str) -> None:
        raise UsageError(f"MLflow at {uri}: nothing answers there")

    monkeypatch.setattr(housekeeping, "tracked_state", unreachable)
    before = of_each_kind.state()
    with pytest.raises(UsageError, match=f"MLflow at {MLFLOW}: nothing answers there"):
        of_each_kind.gc(given(of_each_kind))
    assert of_each_kind.state() == before


def test_a_manifest_that_cannot_be_read_is_refused(of_each_kind: Root) -> None:
    before = of_each_kind.state()
    with pytest.raises(UsageError, match=r"none\.csv is missing"):
        of_each_kind.gc(given(of_each_kind).with_name("none.csv"))
    assert of_each_kind.state() == before


OLDER = {
    "a run that keeps a digest alone": ("runs/older", {"digest": "d"}, True),
    "a run whose needs cannot be read": ("runs/older", [], False),
    "an evaluation that keeps nothing": ("evaluations/older", None, True),
    "a run of a kind to come": ("novelties/older", None, True),
}


@pytest.mark.parametrize("key, needs, finished", OLDER.values(), ids=OLDER.keys())
def test_a_run_that_does_not_say_what_it_needs_keeps_all_features_and_backbones(
    of_each_kind: Root, key: str, needs: Any, finished: bool
) -> None:
    root = of_each_kind
    root.run(key, finished=finished, content={}, needs={} if needs is None else needs)
    if needs is None:
        root.storage.delete(f"{key}/features.json")
    root.touch()
    result = root.gc(given(root))
    kept = {name for name in GARBAGE if name.startswith("features/") and not name.endswith(".partial")}
    kept -= {name for name in GARBAGE if "/long/" in name}
    assert removed(result) == GARBAGE - kept - {name for name in GARBAGE if name.startswith("backbones/idle")}
    assert len(result["doubts"]) == 2
    assert all(f"stay: {key} may use any" in doubt for doubt in result["doubts"])


def test_a_run_that_died_before_it_had_features_keeps_its_backbone_alone(of_each_kind: Root) -> None:
    root = of_each_kind
    root.run("runs/dead", finished=False, content={"backbone": "idle"})
    root.storage.delete("runs/dead/features.json")
    root.touch()
    assert removed(root.gc(given(root))) == {name for name in GARBAGE if not name.startswith("backbones/idle")}


def test_backbones_stay_where_a_version_does_not_tell_its_own(of_each_kind: Root, mlflow_says: Say) -> None:
    mlflow_says(versions={"unreadable": "a run of another root"})
    result = of_each_kind.gc(given(of_each_kind))
    assert "backbones/idle/one" not in removed(result)
    assert result["doubts"] == ["backbones stay: the card of unreadable/1 @champion cannot be read"]


def test_runs_tracked_elsewhere_stay_and_keep_the_backbones(of_each_kind: Root, mlflow_says: Say) -> None:
    of_each_kind.run("runs/away", "away", uri="http://other")
    of_each_kind.touch()
    mlflow_says(deleted=("away",))
    result = of_each_kind.gc(given(of_each_kind))
    assert not any(key.startswith(("runs/away", "backbones/idle", "backbones/of-version")) for key in removed(result))
    assert "tracked at http://other too" in result["doubts"][0]


def test_a_manifest_of_a_run_that_cannot_be_read_now_keeps_the_features(of_each_kind: Root) -> None:
    manifest = of_each_kind.videos / "of-run.csv"
    manifest.write_text(manifest.read_text().replace("path", "file"))
    result = of_each_kind.gc(given(of_each_kind))
    assert "features/f/gone.parquet" not in removed(result)
    assert "features stay: manifest" in result["doubts"][0]


def test_a_deleted_job_stays_while_one_of_its_trials_does(of_each_kind: Root, mlflow_says: Say) -> None:
    mlflow_says(deleted=("ablations/table", "ablations/table/trials/a"))
    assert "ablations/table/run.json" in removed(of_each_kind.gc(given(of_each_kind), dry_run=True))
    mlflow_says(deleted=("ablations/table", "ablations/table/trials/a"), versions={"ours": "ablations/table/trials/a"})
    assert "ablations/table/run.json" not in removed(of_each_kind.gc(given(of_each_kind), dry_run=True))


def test_what_a_removed_run_named_goes_with_it(of_each_kind: Root, mlflow_says: Say) -> None:
    mlflow_says(deleted=("runs/done",), versions={"foreign": "a run of another root"})
    result = removed(of_each_kind.gc(given(of_each_kind)))
    assert {"runs/done/run.json", "features/f/of-run.parquet", "features/f/of-manifest.parquet"} <= result
    assert {"features/f/replaced.parquet", "backbones/of-run/one"} <= result
    assert of_each_kind.gc(given(of_each_kind))["removed"] == []


@pytest.mark.parametrize("key", ["searches/grid", "ablations/table"])
def test_a_damaged_table_of_trials_keeps_what_it_may_name(of_each_kind: Root, mlflow_says: Say, key: str) -> None:
    mlflow_says(deleted=("ablations/table", "ablations/table/trials/a"))
    kept = {"searches/grid": "trials/lonely/run.json", "ablations/table": "ablations/table/run.json"}[key]
    assert kept in removed(of_each_kind.gc(given(of_each_kind), dry_run=True))
    of_each_kind.storage.write(f"{key}/trials.json", b"{")
    of_each_kind.touch()
    assert kept not in removed(of_each_kind.gc(given(of_each_kind)))


def test_an_unfinished_search_keeps_all_trials_and_their_checkpoints(of_each_kind: Root) -> None:
    of_each_kind.storage.delete("searches/grid/result.json")
    assert not any(key.startswith("trials/") for key in removed(of_each_kind.gc(given(of_each_kind))))


def test_a_run_begun_anew_meanwhile_keeps_its_checkpoints(of_each_kind: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root, find = of_each_kind, housekeeping.find_garbage

    def then_begun_anew(*arguments: Any) -> Any:
        garbage = find(*arguments)
        for name in ("done", "deleted"):
            root.storage.delete(f"runs/{name}")
            root.run(f"runs/{name}", "new", finished=False)
            root.folder(f"runs/{name}/checkpoints/epoch-0003")
        return garbage

    monkeypatch.setattr(housekeeping, "find_garbage", then_begun_anew)
    assert not any(key.startswith(("runs/done", "runs/deleted")) for key in removed(root.gc(given(root))))
    assert root.storage.is_complete("runs/done/checkpoints/epoch-0003")
    assert root.storage.is_complete("runs/deleted/checkpoints/epoch-0003")


def test_an_upload_begun_anew_meanwhile_stays(of_each_kind: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root, find = of_each_kind, housekeeping.find_garbage
    again = {"runs/half/model/two", "backbones/torn/one", "features/f/here.parquet.0123abcd.partial"}

    def then_begun_anew(*arguments: Any) -> Any:
        garbage = find(*arguments)
        for key in again:
            root.storage.write(key, b"more")
        return garbage

    monkeypatch.setattr(housekeeping, "find_garbage", then_begun_anew)
    result = removed(root.gc(given(root)))
    assert not any(key.startswith(("runs/half/model", "backbones/torn", *again)) for key in result)
    assert again | {"runs/half/model/one"} <= root.keys()


def test_an_object_that_an_extraction_finds_again_meanwhile_stays(
    of_each_kind: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, find = of_each_kind, housekeeping.find_garbage

    def then_found_again(*arguments: Any) -> Any:
        garbage = find(*arguments)
        root.features("f", {"orphan": root.video("back")})
        return garbage

    monkeypatch.setattr(housekeeping, "find_garbage", then_found_again)
    assert "features/f/orphan.parquet" not in removed(root.gc(given(root)))
    assert root.storage.exists("features/f/orphan.parquet")
    assert not root.storage.exists("features/f/gone.parquet")
    whole(root)


def test_in_a_store_of_objects_what_is_finished_goes_and_what_has_no_time_stays(object_root: Root) -> None:
    root = object_root
    root.run("runs/done")
    root.folder("runs/done/checkpoints/epoch-0003")
    root.folder("backbones/torn", whole=False)
    assert removed(root.gc()) == {f"runs/done/checkpoints/epoch-0003/{name}" for name in WHOLE}
    assert not root.storage.exists("runs/done/checkpoints")


def test_in_a_store_of_objects_age_counts_as_on_a_disk(object_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = object_root
    root.features("f", {"orphan": "", "here": root.video("here")})
    root.folder("backbones/torn", whole=False)
    dated = root.storage.files()[0].changed is not None
    now = housekeeping.time.time()
    monkeypatch.setattr(housekeeping.time, "time", lambda: now + 30 * 86_400)
    expected = {"features/f/orphan.parquet", "backbones/torn/one", "backbones/torn/two"}
    assert removed(root.gc()) == (expected if dated else set())
    assert root.storage.exists("features/f/orphan.parquet") == (not dated)
