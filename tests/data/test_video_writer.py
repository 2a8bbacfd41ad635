"""Written videos: what players need, the times of the frames, and no half-written file."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from anomalyclip.data.video import timed_frames
from anomalyclip.data.video_writer import video_writer

TIMES = [0.0, 0.1, 0.5, 0.55, 2.0, 2.04, 2.5]


def flat(grey: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def write(path: Path, times: list[float], height: int = 48, width: int = 64) -> Path:
    with video_writer(path) as writer:
        for number, seconds in enumerate(times):
            writer.write(flat(8 * number % 256, height, width), seconds)
    return path


@pytest.mark.parametrize("times", [TIMES, [i / 12.5 for i in range(40)], [0.0]])
def test_frames_come_back_at_their_times(tmp_path: Path, times: list[float]) -> None:
    frames = list(timed_frames(write(tmp_path / "clip.mp4", times)))
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=1e-4)


def test_pixels_come_back(tmp_path: Path) -> None:
    frames = timed_frames(write(tmp_path / "clip.mp4", TIMES))
    assert [round(frame.pixels().mean() / 8) for frame in frames] == list(range(len(TIMES)))


def test_the_last_frame_lasts_as_long_as_the_one_before(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "clip.mp4", [i / 10 for i in range(30)]))) as container:
        assert container.duration == 3_000_000


def test_the_file_is_what_every_browser_plays(tmp_path: Path) -> None:
    path = write(tmp_path / "odd: 1.mp4", TIMES, height=49, width=71)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is loaded whole
    with av.open(f"file:{path}") as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 70, 48)


def test_a_failed_block_leaves_no_file_and_the_old_one(tmp_path: Path) -> None:
    old = write(tmp_path / "clip.mp4", [0.0]).read_bytes()
    for name in ("clip.mp4", "new.mp4"):
        with pytest.raises(RuntimeError, match="stop"), video_writer(tmp_path / name) as writer:
            writer.write(flat(0), 0.0)
            raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == old


def test_no_frame_and_times_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have a frame"):
        write(tmp_path / "empty.mp4", [])
    for first, second in pairwise([1.0, 1.0, 0.5]):
        with pytest.raises(ValueError, match="not after"):
            write(tmp_path / "back.mp4", [first, second])
    assert not list(tmp_path.iterdir())
