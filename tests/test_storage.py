import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from pyarrow import fs

from anomalyclip import storage as storage_module
from anomalyclip.errors import JobError, UsageError
from anomalyclip.storage import COMPLETE, Storage, default_root, free_bytes, scratch, store_errors
from tests.servers import free_port, s3_root
from tests.wire import wire


class Faulty:
    """A local filesystem, some of whose methods are replaced."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch, **methods: Any) -> None:
        self._behind, self._methods = storage.filesystem, methods
        monkeypatch.setattr(storage, "filesystem", self)
        monkeypatch.setattr(Storage, "is_local", True)

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._behind, name)


@pytest.fixture(params=["path", "file", "objects", "s3"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A local root, the same as a URI, one in a store of objects, which has no folders of its own, and one on S3."""
    if request.param == "s3":
        return request.getfixturevalue("s3_storage")
    if request.param != "objects":
        return Storage({"path": str(tmp_path / "root"), "file": f"file://{tmp_path}/root"}[request.param])
    storage = Storage("mock:///bucket")
    storage.filesystem = fs.PyFileSystem(fs.FSSpecHandler(MemoryFileSystem(skip_instance_cache=True)))
    storage.filesystem.handler.fs.store = {}  # else shared by all of the process
    storage._prefix = "/bucket"
    return storage


def folder_of(path: Path, **files: str) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_what_is_put_comes_back(any_storage: Storage, tmp_path: Path) -> None:
    any_storage.write("a/b.bin", b"\x00\xff")
    any_storage.write_json("a/c.json", {"x": [1, None]})
    any_storage.write_json("a/c.json", {"x": 2})
    any_storage.publish(folder_of(tmp_path, file="hello") / "file", "d/e/f")
    assert any_storage.read("a/b.bin") == b"\x00\xff"
    assert any_storage.read_json("a/c.json") == {"x": 2}
    assert any_storage.read("d/e/f") == b"hello"
    assert any_storage.list("a") == ["b.bin", "c.json"]
    assert any_storage.list("d") == ["e"]
    assert (any_storage.exists("a"), any_storage.exists("a/b.bin"), any_storage.exists("a/none")) == (True, True, False)


def test_what_is_missing_is_said_to_be_missing(any_storage: Storage) -> None:
    assert any_storage.list("none") == []
    assert not any_storage.is_complete("none")
    any_storage.delete("none")
    for read in (any_storage.read, any_storage.read_json):
        with pytest.raises(FileNotFoundError):
            read("none/file")


def test_a_folder_goes_there_and_back_as_a_whole(any_storage: Storage, tmp_path: Path) -> None:
    any_storage.publish_folder(folder_of(tmp_path / "out", **{"x": "1", "sub/y": "2"}), "runs/a")
    assert any_storage.is_complete("runs/a")
    with any_storage.local("runs/a") as folder:
        assert ((folder / "x").read_text(), (folder / "sub/y").read_text()) == ("1", "2")
    assert folder.exists() == any_storage.is_local
    with any_storage.local("runs/a/sub") as folder:
        assert (folder / "y").read_text() == "2"
    with any_storage.local("runs/a/x") as file:
        assert file.read_text() == "1"
    any_storage.delete("runs/a")
    assert (any_storage.exists("runs/a"), any_storage.list("runs")) == (False, [])


def test_a_write_that_fails_leaves_what_was_there(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write("a", b"old")

    @contextmanager
    def half(path: str) -> Iterator[Any]:
        with Path(path).open("wb", buffering=0) as file:
            yield SimpleNamespace(write=lambda content: file.write(content[:1]))
            raise OSError("no space left")

    Faulty(storage, monkeypatch, open_output_stream=half)
    with pytest.raises(OSError, match="no space left"):
        storage.write("a", b"new")
    assert (storage.read("a"), storage.list("")) == (b"old", ["a"])


def test_a_file_appears_whole_or_not_at_all(storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:2])
        raise OSError("no space left")

    monkeypatch.setattr(fs, "copy_files", half)
    with pytest.raises(OSError, match="no space left"):
        storage.publish(folder_of(tmp_path, file="hello") / "file", "a/b")
    assert storage.list("a") == []


def test_a_folder_counts_as_there_once_its_marker_is(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish, published = storage.publish, []

    def watched(local: Path, key: str) -> None:
        publish(local, key)
        published.append(key)
        assert not storage.is_complete("runs/a")
        if key.endswith("y"):
            raise OSError("cut off")

    monkeypatch.setattr(storage, "publish", watched)
    with pytest.raises(OSError, match="cut off"):
        storage.publish_folder(folder_of(tmp_path / "out", x="1", y="2", z="3"), "runs/a")
    assert published == ["runs/a/x", "runs/a/y"]
    assert not storage.is_complete("runs/a")


def test_the_marker_of_a_folder_goes_first(storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage.publish_folder(folder_of(tmp_path / "out", x="1"), "runs/a")

    def cut_off(path: str) -> None:
        raise OSError("cut off")

    Faulty(storage, monkeypatch, delete_dir=cut_off)
    with pytest.raises(OSError, match="cut off"):
        storage.delete("runs/a")
    assert (storage.exists("runs/a/x"), storage.is_complete("runs/a")) == (True, False)


def test_a_root_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage("out/").uri("a") == f"{tmp_path}/out/a"
    assert Storage("~/out").root == str(Path.home() / "out")
    local = Storage(f"file://{tmp_path}/out")
    assert (local.is_local, local.path("a"), local.uri("a")) == (True, f"{tmp_path}/out/a", f"file://{tmp_path}/out/a")
    assert not Storage("mock:///x").is_local


@pytest.mark.parametrize("root", ["foo://x", "file://host/x", "/"])
def test_a_root_that_cannot_be_used_is_refused(root: str) -> None:
    with pytest.raises(UsageError, match=f"storage root {root} cannot be used"):
        Storage(root)


def test_names_of_any_characters_are_kept(tmp_path: Path) -> None:
    odd = Storage(str(tmp_path / "ä ö#?%20:x"))
    odd.publish(folder_of(tmp_path, **{"a b:c#?": "1"}) / "a b:c#?", "é/ü 1#?.json")
    assert odd.list("é") == ["ü 1#?.json"]
    assert odd.read_json("é/ü 1#?.json") == 1


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ANOMALYCLIP_STORAGE", "ANOMALYCLIP_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch


def test_root_and_scratch_are_the_environments_else_below_home(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_root() == str(tmp_path / "home/anomalyclip")
    assert scratch() == tmp_path / "home/.cache/anomalyclip"
    assert scratch().is_dir()
    environment.setenv("ANOMALYCLIP_STORAGE", "s3://bucket/x")
    environment.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path / "fast"))
    assert (default_root(), scratch()) == ("s3://bucket/x", tmp_path / "fast")


def test_free_space_is_known_of_local_roots_only(tmp_path: Path) -> None:
    assert (free_bytes(Storage(str(tmp_path / "not/there/yet"))) or 0) > 0
    assert free_bytes(Storage("mock:///x")) is None


def test_the_marker_is_a_file_that_says_nothing(storage: Storage, tmp_path: Path) -> None:
    storage.publish_folder(folder_of(tmp_path / "out", x=json.dumps(1)), "a")
    assert storage.list("a") == sorted([COMPLETE, "x"])
    assert storage.read(f"a/{COMPLETE}") == b""


def test_a_root_that_cannot_be_written_is_found_out_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be used: Not a directory"):
        Storage(str(tmp_path / "file" / "root")).check_usable()
    Storage(str(tmp_path / "new" / "root")).check_usable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_scratch_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path / "file" / "scratch"))
    with pytest.raises(UsageError, match="set ANOMALYCLIP_SCRATCH"):
        scratch()


def test_all_files_are_listed_with_their_sizes_and_times(any_storage: Storage) -> None:
    assert any_storage.files() == []
    any_storage.write("b/c/d", b"123")
    any_storage.write("a", b"1")
    listed = any_storage.files()
    assert [(file.key, file.size) for file in listed] == [("a", 1), ("b/c/d", 3)]
    assert [any_storage.stat(file.key) for file in listed] == listed
    tells_times = not any_storage.root.startswith("mock:")
    assert all((file.changed is not None) == tells_times for file in listed)
    assert (any_storage.stat("b"), any_storage.stat("none")) == (None, None)


def test_a_folder_removed_while_it_is_listed_is_no_failure(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write("a/b", b"")
    behind, asked = storage.filesystem, []

    def vanished_once(selector: Any) -> Any:
        asked.append(selector)
        if len(asked) == 1:
            raise FileNotFoundError("a/c")
        return behind.get_file_info(selector)

    Faulty(storage, monkeypatch, get_file_info=vanished_once)
    assert [file.key for file in storage.files()] == ["a/b"]


def test_a_bucket_that_is_not_there_is_found_out(s3_address: str) -> None:
    Storage(s3_root(s3_address, "x")).check_usable()
    with pytest.raises(UsageError, match=r"^storage root s3://none/x\S+ cannot be used: there is no bucket none$"):
        Storage(s3_root(s3_address, "x").replace("s3://results", "s3://none")).check_usable()
    with pytest.raises(UsageError, match=r"^storage root \S+ cannot be used: .* AWS Error NETWORK_CONNECTION .*$"):
        Storage(s3_root(f"http://127.0.0.1:{free_port()}", "x")).check_usable()


def test_an_object_store_that_is_away_for_a_while_is_waited_for(s3_address: str) -> None:
    with wire(s3_address) as laid:
        storage = Storage(s3_root(laid.address, "waited"))
        laid.fault, laid.faults_left = "away", 6
        storage.write("a", b"1")
        assert (storage.read("a"), laid.fault) == (b"1", "")


def test_an_object_store_that_stays_away_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, s3_address: str) -> None:
    monkeypatch.setattr(storage_module, "S3_ATTEMPTS", 2)
    storage = Storage(s3_root(f"http://127.0.0.1:{free_port()}", "x"))
    line = r"^the object store failed: .* AWS Error .*; .* the same command resumes$"
    with pytest.raises(JobError, match=line), store_errors():
        storage.write("a", b"1")
    with pytest.raises(FileNotFoundError), store_errors():
        Storage(s3_root(s3_address, "x")).read("none")


def test_a_small_object_is_written_by_one_request(s3_address: str) -> None:
    with wire(s3_address) as laid:
        Storage(s3_root(laid.address, "small")).write("a", b"1")
        assert laid.requests <= 2  # the server may ask for the body; an upload in parts takes three with bodies
