"""Cuts: the right frames at the right times, decoded once, and nothing half-written."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from anomalyclip.data.cuts import Inside, cut
from anomalyclip.data.video import DecodeError, TimedFrame, VideoReader, timed_frames
from anomalyclip.data.video_writer import video_writer

TIMES = [0.0, 0.1, 0.5, 0.55, 2.0, 2.04, 2.5, 3.0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Frame i is grey 16 * i."""
    with video_writer(tmp_path / "source" / "a.mp4") as writer:
        for number, seconds in enumerate(TIMES):
            writer.write(np.full((48, 64, 3), 16 * number, np.uint8), seconds)
    return tmp_path / "source" / "a.mp4"


def frames(first: int, last: int) -> Inside:
    return lambda index, _: first <= index <= last


def greys(path: Path) -> list[int]:
    return [round(frame.mean() / 16) for frame in np.concatenate(list(VideoReader(path)))]


def test_each_cut_holds_its_frames_from_time_zero(tmp_path: Path, source: Path) -> None:
    spans = {"a": (2, 5), "b": (4, 4), "c": (0, 3), "end": (6, 99)}
    found = cut(timed_frames(source), {tmp_path / f"{name}.mp4": frames(*span) for name, span in spans.items()})
    assert [path.stem for path in found] == ["a", "b", "c", "end"]
    assert [greys(path) for path in found] == [[2, 3, 4, 5], [4], [0, 1, 2, 3], [6, 7]]
    assert [frame.seconds for frame in timed_frames(found[0])] == pytest.approx([0, 0.05, 1.5, 1.54], abs=1e-4)
    with av.open(str(found[0])) as container:
        assert container.start_time == 0


def test_a_cut_by_time_holds_the_frames_that_start_in_it(tmp_path: Path, source: Path) -> None:
    (found,) = cut(timed_frames(source), {tmp_path / "a.mp4": lambda _, seconds: 0.2 <= seconds < 2.04})
    assert greys(found) == [2, 3, 4]


def test_a_cut_without_a_frame_is_not_written(tmp_path: Path, source: Path) -> None:
    assert cut(timed_frames(source), {tmp_path / "a.mp4": frames(20, 30)}) == []
    assert not (tmp_path / "a.mp4").exists()


def test_decoding_stops_after_the_last_cut(tmp_path: Path, source: Path) -> None:
    decoded = []

    def counted() -> Iterator[TimedFrame]:
        for frame in timed_frames(source):
            decoded.append(frame.seconds)
            yield frame

    cut(counted(), {tmp_path / "a.mp4": frames(0, 2), tmp_path / "b.mp4": frames(1, 1)})
    assert decoded == pytest.approx(TIMES[:4], abs=1e-4)


def test_a_damaged_video_leaves_the_whole_cuts_only(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    with video_writer(tmp_path / "source.mp4") as writer:
        for number in range(120):
            writer.write(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8), number / 10)
    content = (tmp_path / "source.mp4").read_bytes()
    (tmp_path / "source.mp4").write_bytes(
        content[: len(content) // 2] + bytes(999) + content[len(content) // 2 + 999 :]
    )
    damaged = timed_frames(tmp_path / "source.mp4")
    with pytest.raises(DecodeError):
        cut(damaged, {tmp_path / "a.mp4": frames(0, 5), tmp_path / "b.mp4": frames(4, 119)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "source.mp4"]
