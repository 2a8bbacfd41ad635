import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from pyarrow import fs

from anomalyclip.config import RunConfig
from anomalyclip.data.manifest import write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs import housekeeping
from anomalyclip.storage import COMPLETE, Storage
from anomalyclip.tracking.references import Tracked, Version

DAY = 86_400
MLFLOW = "http://mlflow"
BACKBONES = {"foreign": "of-version"}
"""What the versions need whose runs are not in the root, by the models' names."""


class Root:
    """A storage root made by hand, all of it a month old unless it is told otherwise."""

    def __init__(self, storage: Storage, videos: Path) -> None:
        self.storage, self.videos = storage, videos
        (videos / "there").mkdir(parents=True)
        (videos / "there" / "other.mp4").write_bytes(b"")

    def video(self, name: str, exists: bool = True, folder: str = "there") -> str:
        path = self.videos / folder / f"{name}.mp4"
        if exists:
            path.write_bytes(b"")
        return str(path)

    def features(self, fingerprint: str, contents: Mapping[str, str]) -> None:
        """Objects of a store by content, with rows for their videos; a row for no video is none."""
        store = FeatureStore(self.storage, fingerprint)
        for content in contents:
            self.storage.write(store.object_key(content), b"features")
        rows = {content: video for content, video in contents.items() if video}
        if rows:
            store.record([ExtractionResult(video, 1, 1, content, 2, 2) for content, video in rows.items()])

    def folder(self, key: str, whole: bool = True) -> None:
        self.storage.write(f"{key}/one", b"1")
        self.storage.write(f"{key}/two", b"22")
        if whole:
            self.storage.write(f"{key}/{COMPLETE}", b"")

    def run(
        self, key: str, run_id: str | None = None, finished: bool = True, content: Mapping[str, Any] | None = None,
        needs: Mapping[str, Any] | None = None, uri: str = MLFLOW,
    ) -> None:  # fmt: skip
        self.storage.write_json(f"{key}/run.json", {"backbone": None} if content is None else content)
        self.storage.write_json(f"{key}/features.json", {"digest": "d", "objects": []} if needs is None else needs)
        self.storage.write_json(f"{key}/mlflow.json", {"tracking_uri": uri, "run_id": run_id or key})
        if finished:
            self.folder(f"{key}/model")
            self.storage.write_json(f"{key}/result.json", {})

    def trials(self, key: str, *names: str) -> None:
        """A table of the trials of a search or an ablation."""
        rows = {name: {"point": {}, "run_id": f"{key}/trials/{name}", "state": "finished"} for name in names}
        self.storage.write_json(f"{key}/trials.json", rows)

    def manifest(self, name: str, *videos: str) -> Path:
        rows = [(Path(video).stem, video, "train", [], [], 2) for video in videos]
        path = self.videos / f"{name}.csv"
        write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), path)
        return path

    def touch(self, key: str = "", days: float = 30) -> None:
        """Say that everything below a key was changed so many days ago."""
        then = time.time() - days * DAY
        path = Path(self.storage.path(key))
        for file in [path] if path.is_file() else path.rglob("*"):
            os.utime(file, (then, then))

    def keys(self) -> set[str]:
        return {file.key for file in self.storage.files()}

    def state(self) -> dict[str, Any]:
        """All files with what they hold, indices as rows."""
        return {
            key: sorted(pl.read_parquet(self.storage.path(key))["video"]) if key.endswith("index.parquet")
            else self.storage.read(key)
            for key in self.keys()
        }  # fmt: skip

    def job(self) -> Job:
        return Job(self.storage, RunConfig(), None, False, MLFLOW)

    def gc(self, *manifests: Path, dry_run: bool = False, days: float = 7) -> dict[str, Any]:
        return housekeeping.collect(self.job(), manifests, days, dry_run)


@pytest.fixture
def root(storage: Storage, tmp_path: Path) -> Root:
    return Root(storage, tmp_path / "videos")


@pytest.fixture(autouse=True)
def _own_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(autouse=True)
def mlflow_says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let MLflow name deleted runs and versions by run; without being told it knows of none."""

    def backbone_of(version: Version, uri: str) -> str | None:
        if version.name not in BACKBONES:
            raise UsageError(f"the card of {version} cannot be read")
        return BACKBONES[version.name]

    def say(deleted: tuple[str, ...] = (), versions: Mapping[str, str] | None = None) -> None:
        known = [Version(name, "1", run_id, ["champion"]) for name, run_id in (versions or {}).items()]
        monkeypatch.setattr(housekeeping, "tracked_state", lambda uri: Tracked(uri, known, frozenset(deleted)))

    monkeypatch.setattr(housekeeping, "backbone_of", backbone_of)
    say()
    return say


class _Dated(MemoryFileSystem):  # type: ignore[misc]
    """Objects in memory with the time of their writing, as stores of objects tell it."""

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        found = super().info(path, **more)
        return {**found, "mtime": found["created"].timestamp()} if "created" in found else found


def _objects(folder: Path, kind: type[MemoryFileSystem]) -> Root:
    storage = Storage("mock:///bucket")
    storage.filesystem = fs.PyFileSystem(fs.FSSpecHandler(kind(skip_instance_cache=True)))
    storage.filesystem.handler.fs.store = {}  # else shared by all of the process
    storage._prefix = "/bucket"
    return Root(storage, folder / "videos")


@pytest.fixture(params=[_Dated, MemoryFileSystem], ids=["dated", "undated"])
def object_root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """A root in a store of objects, one that tells their times and one that does not."""
    return _objects(tmp_path, request.param)


@pytest.fixture(params=["folder", "objects"])
def any_root(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Root:
    """A root in a local folder, and one in a store of objects."""
    return Root(storage, tmp_path / "videos") if request.param == "folder" else _objects(tmp_path, _Dated)
