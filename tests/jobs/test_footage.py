from pathlib import Path

import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs.footage import Footage, find_footage
from anomalyclip.storage import Storage

MANIFEST = "video_id,path,split,labels,anomalies,num_frames\na,a.mp4,{},,,\nb,inner/b.AVI,train,Arson,,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos, a hidden one, a folder of pictures, and what is no video."""
    for name in ("a.mp4", "inner/b.AVI", "inner/._b.AVI", "notes.txt", "frames/1.png", "frames/2.png", "x/[1].mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find(*names: object) -> Footage:
    return find_footage(Job(Storage("storage"), RunConfig(), None, False, ""), [str(name) for name in names])


def ids(*names: object) -> list[str]:
    return find(*names).table["video_id"].to_list()


def test_videos_are_named_by_file_folder_glob_and_uri(folder: Path) -> None:
    assert ids("a.mp4") == ids(folder / "a.mp4") == ids((folder / "a.mp4").as_uri()) == ["a"]
    assert ids(".") == ["a", "frames", "b", "[1]"]
    assert ids("inner", "a.mp4", "./a.mp4") == ["b", "a"]
    assert ids("*.mp4", "inn*/*") == ["a", "b"]
    assert ids("**/*.mp4") == ["a"]
    assert ids("x/[1].mkv") == ["[1]"]  # a name, not a pattern
    assert ids("frames") == ["frames"]


def test_nothing_is_known_of_files_and_their_run_is_named_by_the_first(folder: Path) -> None:
    found = find("inner/*", "a.mp4")
    assert found.table["labels"].null_count() == 2 and found.manifest is None
    assert (found.name, found.table["source"].to_list()[1]) == ("inner", str(folder / "a.mp4"))
    assert find("a.mp4").digest != find("inner/b.AVI").digest


@pytest.mark.parametrize("split, videos", [("test", ["a"]), ("train", ["a", "b"])])
def test_a_manifests_test_videos_are_scored_or_all_if_there_are_none(
    folder: Path, split: str, videos: list[str]
) -> None:
    (folder / "manifest.csv").write_text(MANIFEST.format(split))
    assert ids("manifest.csv") == videos
    assert find("manifest.csv").table["labels"].to_list()[0] == []


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "give videos: files, folders, globs, URIs, or a manifest"),
        (["b.mp4"], "path '.*b.mp4' is missing: give files"),
        (["*.mkv"], r"no file is like \*.mkv"),
        (["empty"], "there is no video in empty"),
        (["a.mp4", "manifest.csv"], "manifest manifest.csv beside other videos: score it by itself"),
        (["gone.csv"], "manifest gone.csv is missing"),
    ],
)
def test_what_is_no_footage_is_refused(folder: Path, names: list[str], message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        find(*names)
