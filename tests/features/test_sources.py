"""Videos that are folders of pictures: extracted like a file of the same frames, and noticed when they change."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from pyarrow import fs

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import VideoReader, probe
from anomalyclip.features import sources
from anomalyclip.features.answers import Answers
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.sources import ABSENT, Stamp, content_hash, fetch, first_bytes, removed_sources, stamp, stamps
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage

DrawVideo = Callable[..., Path]
Extract = Callable[..., ExtractionResult]


def mean_colours(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=(1, 2)).astype(np.float16)[:, None]


@pytest.fixture
def video(draw_video: DrawVideo, tmp_path: Path) -> Path:
    return draw_video(tmp_path / "clip.mp4", num_frames=12)


@pytest.fixture
def folder(video: Path, tmp_path: Path) -> Path:
    """The frames of the video as pictures `0.png` to `11.png`."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(np.concatenate(list(VideoReader(video)))):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    return folder


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return FeatureStore(storage, "print")


@pytest.fixture
def extract(store: FeatureStore) -> Iterator[Extract]:
    decoder = Decoder(timeout=20)

    def run(source: Path, into: FeatureStore = store, sampling_rate: int = 1) -> ExtractionResult:
        settings = ExtractionConfig(batch_size=5, sampling_rate=sampling_rate)
        return extract_video(str(source), mean_colours, into, settings, decoder)

    yield run
    decoder.close()


@pytest.mark.parametrize("rate", [1, 5])
def test_a_folder_of_frames_has_the_features_of_its_video(
    video: Path, folder: Path, store: FeatureStore, extract: Extract, rate: int
) -> None:
    results = [extract(source, sampling_rate=rate) for source in (video, folder)]
    store.record(results)
    assert results[1].error is None
    assert [(r.frames, r.num_frames, r.fps) for r in results] == [(-(-12 // rate), 12, 25.0), (-(-12 // rate), 12, 0.0)]
    np.testing.assert_array_equal(store.read_features(str(folder)), store.read_features(str(video)))


def test_a_broken_picture_quarantines_its_folder_with_its_name(
    folder: Path, store: FeatureStore, extract: Extract
) -> None:
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:-20])
    store.record([extract(folder)])
    reason = store.quarantine()["reason"].item()
    assert reason == f"{folder}/7.png: not a whole picture, at frame 7"
    assert store.missing([str(folder)]).is_empty()


def swap(folder: Path) -> None:
    (folder / "3.png").rename(folder / "x.png")
    (folder / "4.png").rename(folder / "3.png")
    (folder / "x.png").rename(folder / "4.png")


def touch_up(folder: Path) -> None:
    data = bytearray((folder / "3.png").read_bytes())
    data[-20] ^= 1
    (folder / "3.png").write_bytes(data)


@pytest.mark.parametrize("change", [
    swap, touch_up, lambda folder: (folder / "5.png").unlink(),
    lambda folder: (folder / "12.png").write_bytes((folder / "11.png").read_bytes()),
])  # fmt: skip
def test_a_changed_folder_is_noticed(
    folder: Path, store: FeatureStore, extract: Extract, change: Callable[[Path], object]
) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(1, 1))
    before = extract(folder)
    store.record([before])
    assert store.missing([str(folder)]).is_empty()
    change(folder)
    assert store.missing([str(folder)])["video"].to_list() == [str(folder)]
    assert content_hash(folder) != before.hash


def test_what_is_no_picture_and_other_names_in_the_same_order_cost_no_second_extraction(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "notes.txt").touch()
    for number in range(11, -1, -1):
        (folder / f"{number}.png").rename(folder / f"{number + 5:04d}.png")
    assert content_hash(folder) == before


def test_a_folder_has_the_size_of_its_pictures_and_the_time_of_the_newest(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("not counted")
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(5, 5))
    os.utime(folder / "4.png", ns=(5, 9))
    size = sum(path.stat().st_size for path in folder.glob("*.png"))
    assert stamp(str(folder)) == Stamp(size, 9)
    assert stamps([str(folder)]).row(0) == (str(folder), size, 9)
    assert first_bytes(str(folder), 40) == (folder / "0.png").read_bytes()[:40]
    (tmp_path / "empty").mkdir()
    assert stamp(str(tmp_path / "empty")) == ABSENT


def test_an_empty_folder_is_an_error_of_the_video(extract: Extract, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert extract(tmp_path / "empty").error == f"{tmp_path / 'empty'}: no such file"


def test_a_folder_in_an_object_store_is_a_video_too(
    folder: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = MemoryFileSystem(skip_instance_cache=True)
    objects.store = {}
    for path in folder.iterdir():
        objects.pipe_file(f"/bucket/set é #/clip/{path.name}", path.read_bytes())
    bucket = fs.PyFileSystem(fs.FSSpecHandler(objects))
    monkeypatch.setattr(sources, "_remote", lambda root: (bucket, "/bucket"))
    source = "s3://bucket/set%20é%20%23/clip/"

    assert stamp(source).size == stamp(str(folder)).size
    assert first_bytes(source) == first_bytes(str(folder))
    (tmp_path / "scratch").mkdir()
    copy = fetch(source, tmp_path / "scratch")
    assert (probe(copy), content_hash(copy)) == (probe(folder), content_hash(folder))
    result = extract(source)
    assert (result.error, result.frames, result.hash) == (None, 12, content_hash(folder))


def test_a_store_that_refuses_costs_its_own_videos_only(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = MemoryFileSystem(skip_instance_cache=True)
    objects.store = {}
    objects.pipe_file("/bucket/there.mp4", b"content")
    bucket = fs.PyFileSystem(fs.FSSpecHandler(objects))

    def remote(root: str) -> tuple[fs.FileSystem, str]:
        if "away" in root:
            raise OSError(f"When resolving region for bucket of {root}: timed out")
        return bucket, "/bucket"

    monkeypatch.setattr(sources, "_remote", remote)
    local = tmp_path / "a.mp4"
    local.write_bytes(b"1234")
    names = ["s3://bucket/there.mp4", str(local), "s3://away/b.mp4", "nowhere://c/d.mp4"]
    sizes = dict(stamps(names).select("video", "size").iter_rows())
    assert sizes == {"s3://bucket/there.mp4": 7, str(local): 4, "s3://away/b.mp4": -1, "nowhere://c/d.mp4": -1}
    result = extract("s3://away/b.mp4")
    assert result.error and "s3://away/b.mp4" in result.error and "timed out" in result.error


def test_a_video_is_gone_only_where_its_folder_is_there_and_not_empty(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / folder / name) for folder in ("kept", "empty", "none") for name in ("a.mp4", "b.mp4")]
    assert removed_sources([*paths, str(tmp_path / "kept" / "frames/")]) == {paths[1], f"{tmp_path}/kept/frames"}


def test_a_store_that_does_not_answer_proves_nothing_gone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    assert removed_sources(["foo://bucket/b.mp4", str(tmp_path / "b.mp4")]) == set()


def test_a_link_to_the_kernels_own_files_is_a_row_with_an_error(extract: Extract, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("/proc/self/mem")  # regular by its mode; reading it is an error of input
    assert "not a regular file" in str(extract(str(tmp_path / "a.mp4")).error)


def test_a_bucket_that_does_not_answer_makes_no_row_wait_after_the_third(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def remote(root: str) -> tuple[fs.FileSystem, str]:
        asked.append(root)
        raise OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout was reached")

    monkeypatch.setattr(sources, "_remote", remote)
    monkeypatch.setattr(sources, "_ANSWERS", Answers())
    names = [f"s3://dead/{number}.mp4" for number in range(9)]
    assert set(stamps(names)["size"]) == {-1} and len(asked) == 1
    errors = [extract(name).error for name in names]
    assert len(asked) == 3
    assert all(f"{name}: AWS Error" in str(error) for name, error in zip(names[:2], errors[:2], strict=True))
    words = "s3://dead/ did not answer 3 times, so this was not asked for: AWS Error NETWORK_CONNECTION"
    assert all(f"{name}: {words}" in str(error) for name, error in zip(names[2:], errors[2:], strict=True))
    extract("s3://other/a.mp4")
    assert asked[3:] == ["s3://other/"]  # by itself
