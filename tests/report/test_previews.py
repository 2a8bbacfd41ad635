"""Pictures and small copies for the report: upright, at the right time, of any source."""

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import DecodeError, VideoReader, timed_frames
from anomalyclip.data.video_writer import video_writer
from anomalyclip.report.previews import key_frames, plays_in_browser, write_preview
from tests.conftest import DrawVideo

TIMES = [0.0, 0.1, 0.5, 0.55, 2.0, 2.04, 2.5]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with closing(Decoder()) as started:
        yield started


def greys(path: Path, times: list[float], height: int = 480, width: int = 640) -> Path:
    with video_writer(path) as writer:
        for number, seconds in enumerate(times):
            writer.write(np.full((height, width, 3), 8 * number % 256, np.uint8), seconds)
    return path


def encoded(path: Path, codec: str, pixel_format: str = "yuv420p") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    if codec == "libsvtav1":
        # for root it gives this thread, and all that it starts later, real-time priority
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


@pytest.mark.parametrize(("name", "codec", "pixel_format", "expected"), [
    ("a.mp4", "libx264", "yuv420p", True), ("a.MP4", "libx264", "yuv420p", True),
    ("a.webm", "libvpx", "yuv420p", True), ("a.webm", "libvpx-vp9", "yuv420p", True),
    ("a.webm", "libsvtav1", "yuv420p", True), ("a.mp4", "libsvtav1", "yuv420p", True),
    ("a.mp4", "libx264", "yuv444p", False), ("a.mp4", "libx264", "yuv420p10le", False),
    ("a.avi", "mpeg4", "yuv420p", False), ("a.mp4", "mpeg4", "yuv420p", False),
    ("a.avi", "libx264", "yuv420p", False), ("a.mkv", "libx264", "yuv420p", False),
    ("a.mov", "libx264", "yuv420p", False),
])  # fmt: skip
def test_what_browsers_play(
    decoder: Decoder, tmp_path: Path, name: str, codec: str, pixel_format: str, expected: bool
) -> None:
    assert plays_in_browser(encoded(tmp_path / name, codec, pixel_format), decoder) == expected


def test_a_folder_of_pictures_does_not_play_and_a_text_is_an_error(decoder: Decoder, tmp_path: Path) -> None:
    assert not plays_in_browser(tmp_path, decoder)
    (tmp_path / "notes.mp4").write_text("not a video\n" * 99)
    with pytest.raises(DecodeError, match=r"notes\.mp4"):
        plays_in_browser(tmp_path / "notes.mp4", decoder)


def test_a_preview_has_the_same_frames_at_the_same_times(tmp_path: Path) -> None:
    write_preview(timed_frames(greys(tmp_path / "source.mp4", TIMES), height=240), tmp_path / "previews" / "a.mp4")
    frames = list(timed_frames(tmp_path / "previews" / "a.mp4"))
    assert [frame.seconds for frame in frames] == pytest.approx(TIMES, abs=1e-4)
    (pixels,) = VideoReader(tmp_path / "previews" / "a.mp4")
    assert pixels.shape == (7, 240, 320, 3)
    assert [round(frame.mean() / 8) for frame in pixels] == list(range(7))


def test_a_preview_of_mpeg4_in_avi_plays(decoder: Decoder, tmp_path: Path, draw_video: DrawVideo) -> None:
    source = draw_video(tmp_path / "crime.avi", num_frames=30, fps=30)
    assert not plays_in_browser(source, decoder)
    write_preview(timed_frames(source), tmp_path / "crime.mp4")
    assert plays_in_browser(tmp_path / "crime.mp4", decoder)
    frames = list(timed_frames(tmp_path / "crime.mp4"))
    assert [frame.seconds for frame in frames] == pytest.approx([i / 30 for i in range(30)], abs=1e-4)
    assert frames[0].pixels().shape == (48, 64, 3)  # not enlarged


def phone(path: Path) -> Path:
    """A video of 64 x 48 pixels, encoded with red at the top, that is displayed with red on the right."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :, 0] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(270)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def assert_red_on_the_right(pixels: np.ndarray) -> None:
    red, _, blue = cv2.split(pixels)
    half = pixels.shape[1] // 2
    assert red[:, half + 2 :].mean() > 230 and red[:, : half - 2].mean() < 20 and blue.mean() < 20


def test_a_preview_of_a_rotated_video_is_upright(tmp_path: Path) -> None:
    write_preview(timed_frames(phone(tmp_path / "phone.mp4"), height=32), tmp_path / "preview.mp4")
    ((shown,),) = VideoReader(tmp_path / "preview.mp4")
    assert shown.shape == (32, 24, 3)
    assert_red_on_the_right(shown)


def test_a_preview_of_pictures_has_the_given_rate(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), np.full((96, 128, 3), 40 * number, np.uint8))
    write_preview(timed_frames(tmp_path / "frames", 10, 48), tmp_path / "a.mp4")
    frames = list(timed_frames(tmp_path / "a.mp4"))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-4)
    assert list(key_frames(timed_frames(tmp_path / "frames"), [2])) == [2]


def test_a_damaged_source_leaves_no_preview(tmp_path: Path) -> None:
    source = greys(tmp_path / "source.mp4", [i / 10 for i in range(60)])
    source.write_bytes(source.read_bytes()[:-200])
    with pytest.raises(DecodeError):
        write_preview(timed_frames(source), tmp_path / "preview.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_key_frames_are_pictures_of_the_wanted_frames(tmp_path: Path) -> None:
    pictures = key_frames(timed_frames(greys(tmp_path / "source.mp4", TIMES), height=180), [5, 0, 2, 2, 99])
    assert sorted(pictures) == [0, 2, 5]
    for index, jpeg in pictures.items():
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == (180, 240, 3) and round(pixels.mean() / 8) == index


def test_key_frames_are_upright_and_in_the_right_colours(tmp_path: Path) -> None:
    jpeg = np.frombuffer(key_frames(timed_frames(phone(tmp_path / "phone.mp4"), height=32), [0])[0], np.uint8)
    picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert picture.shape == (32, 24, 3)
    assert_red_on_the_right(picture[..., ::-1])


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for length in (50, 300):
        source = greys(tmp_path / f"{length}.mp4", [i / 10 for i in range(length)], 96, 128)
        tracemalloc.start()
        write_preview(timed_frames(source), tmp_path / "preview.mp4")
        key_frames(timed_frames(source), [length - 1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
