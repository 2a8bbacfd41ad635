"""Folders of pictures as videos: the pictures' own pixels, in the order a person would count them."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyclip.data.frame_folder import frame_names
from anomalyclip.data.manifest_checks import resolve_source
from anomalyclip.data.video import DecodeError, VideoInfo, VideoReader, probe
from anomalyclip.features.sources import content_hash

Pictures = np.ndarray
"""(frames, height, width, 3), uint8 RGB."""


@pytest.fixture
def drawn() -> Pictures:
    return np.random.default_rng(3).integers(0, 256, (12, 20, 30, 3), dtype=np.uint8)


def write(folder: Path, frames: Pictures, name: str = "frame {}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames, start=1):
        assert cv2.imwrite(str(folder / name.format(number)), frame[..., ::-1])
    return folder


def read(folder: Path, sampling_rate: int = 1) -> Pictures:
    return np.concatenate(list(VideoReader(folder, sampling_rate, batch_size=5)))


@pytest.mark.parametrize("name", ["{}.png", "é #{} a.BMP", "x{}.Tif", "{:03d}.tiff"])
def test_frames_are_the_pictures_bit_for_bit_in_natural_order(tmp_path: Path, drawn: Pictures, name: str) -> None:
    folder = write(tmp_path / "clip #1", drawn, name)
    reader = VideoReader(folder, batch_size=5)
    batches = list(reader)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(batches), drawn)
    assert reader.info == VideoInfo(num_frames=12, fps=0.0)
    assert probe(folder) == 12


def test_names_are_counted_as_a_person_counts_them() -> None:
    names = ["10.jpg", "a2.PNG", "A10.png", "2.jpg", "a1.png", "._1.png", "Thumbs.db", "1.jpeg", "notes.txt", "01.bmp"]
    assert frame_names(names) == ["01.bmp", "1.jpeg", "2.jpg", "10.jpg", "a1.png", "a2.PNG", "A10.png"]


def test_every_third_picture_is_kept_and_the_others_are_not_even_read(tmp_path: Path, drawn: Pictures) -> None:
    folder = write(tmp_path / "clip", drawn)
    (folder / "frame 3.png").write_bytes(b"no picture")
    np.testing.assert_array_equal(read(folder, sampling_rate=3), drawn[::3])
    reader = VideoReader(folder, sampling_rate=5)
    list(reader)
    assert reader.info.num_frames == 12


def test_grey_pictures_and_those_with_an_alpha_channel_have_three_channels(tmp_path: Path, drawn: Pictures) -> None:
    folder = write(tmp_path / "clip", drawn[:1])
    grey = drawn[0, ..., 0]
    cv2.imwrite(str(folder / "frame 2.png"), grey)
    cv2.imwrite(str(folder / "frame 3.png"), np.dstack([drawn[0, ..., ::-1], grey]))
    np.testing.assert_array_equal(read(folder), [drawn[0], np.dstack([grey] * 3), drawn[0]])


def cut_jpeg(path: Path, frame: np.ndarray) -> None:
    encoded = cv2.imencode(".jpg", frame)[1].tobytes()
    path.write_bytes(encoded[:-40])


@pytest.mark.parametrize(("damage", "words"), [
    (lambda path, frame: path.write_bytes(b""), "not a whole picture"),
    (lambda path, frame: path.write_bytes(b"text"), "not a whole picture"),
    (cut_jpeg, "not a whole picture"),
    (lambda path, frame: path.write_bytes(path.read_bytes()[:-9]), "not a whole picture"),
    (lambda path, frame: cv2.imwrite(str(path), frame[:-2]), "30 x 18 pixels, while the first picture has 30 x 20"),
])  # fmt: skip
def test_a_picture_that_is_broken_or_of_another_size_is_named(
    tmp_path: Path, drawn: Pictures, damage: Callable[[Path, np.ndarray], object], words: str
) -> None:
    folder = write(tmp_path / "clip", drawn)
    damage(folder / "frame 11.png", drawn[0])
    reader = VideoReader(folder)
    with pytest.raises(DecodeError, match=rf"clip/frame 11\.png: {words}, at frame 10$"):
        list(reader)
    with pytest.raises(RuntimeError):
        _ = reader.info


def test_a_folder_without_pictures_is_a_decode_error(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    for look in (probe, read):
        with pytest.raises(DecodeError, match=r"holds no pictures \(.bmp, "):
            look(tmp_path)


def test_a_manifest_takes_a_folder_that_directly_holds_pictures(tmp_path: Path, drawn: Pictures) -> None:
    folder = write(tmp_path / "clip é #1", drawn[:2])
    assert resolve_source("clip é #1", tmp_path) == resolve_source(f"{folder}/", tmp_path) == str(folder)


@pytest.mark.parametrize("content", [[], ["a.txt"], ["deeper/1.png"], ["1.png/a"], ["._1.png"]])
def test_a_manifest_refuses_a_folder_without_pictures(tmp_path: Path, content: list[str]) -> None:
    (tmp_path / "clip").mkdir()
    for name in content:
        (tmp_path / "clip" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "clip" / name).touch()
    with pytest.raises(ValueError, match="'clip' is a folder without pictures"):
        resolve_source("clip", tmp_path)


def test_a_picture_that_links_out_of_the_manifests_folder_is_refused(tmp_path: Path, drawn: Pictures) -> None:
    outside = write(tmp_path / "outside", drawn[:1])
    (tmp_path / "set").mkdir()
    inside = write(tmp_path / "set/clip", drawn[:1])
    (inside / "frame 2.png").symlink_to(inside / "frame 1.png")
    assert resolve_source("clip", tmp_path / "set") == str(inside)
    (inside / "frame 3.png").symlink_to(outside / "frame 1.png")
    with pytest.raises(ValueError, match=r"frame 3\.png is a link that leaves"):
        resolve_source("clip", tmp_path / "set")
    assert resolve_source(str(inside), tmp_path / "set") == str(inside)


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_a_pipe_or_a_device_among_the_pictures_is_refused_and_not_opened(tmp_path: Path, kind: str) -> None:
    """Opened, a pipe waits for a writer for ever, and /dev/zero never ends."""
    special = tmp_path / "clip/9.png"
    special.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(special)
    else:
        special.symlink_to("/dev/zero")
    with pytest.raises(DecodeError, match=r"9\.png is not a regular file"):
        list(VideoReader(special.parent))
    with pytest.raises(PermissionError, match=r"9\.png is not a regular file"):
        content_hash(special.parent)
    with pytest.raises(PermissionError, match="not a regular file"):
        content_hash(special)
    with pytest.raises(ValueError, match=r"cannot be listed: 9\.png is not a regular file"):
        resolve_source("clip", tmp_path)
