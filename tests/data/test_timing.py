from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from anomalyclip.data.timing import Timing, creation_time, read_timing, timing_metadata, uneven_times
from anomalyclip.data.video import VideoReader


def draw(path: Path, milliseconds: Sequence[int], created: str | None = None, rate: int = 25) -> Path:
    """A video whose frames start at these times."""
    with av.open(str(path), "w") as container:
        if created:
            container.metadata["creation_time"] = created
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 9 % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path) -> Timing | None:
    reader = VideoReader(path)
    assert sum(map(len, reader)) == reader.info.num_frames
    return reader.info.timing


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path, suffix: str) -> None:
    milliseconds = [*range(0, 1000, 40), *range(1000, 5000, 200), *range(5000, 5400, 40)]
    timing = read(draw(tmp_path / f"a.{suffix}", milliseconds))
    assert timing is not None and timing.times is not None
    np.testing.assert_allclose(timing.times, np.array(milliseconds) / 1000, atol=1e-6)
    kept = read_timing({name.encode(): value.encode() for name, value in timing_metadata(timing).items()})
    assert kept.times is not None and kept.started is None
    np.testing.assert_array_equal(kept.times, timing.times)


def test_times_are_not_kept_if_frames_are_even_but_for_rounding(tmp_path: Path) -> None:
    milliseconds = [round(number * 1000 / 30) for number in range(90)]
    assert read(draw(tmp_path / "a.mkv", milliseconds, rate=30)) is None
    assert read(draw(tmp_path / "b.mkv", milliseconds, rate=25)) is not None  # the header's rate is wrong
    jittered = np.arange(90) * 1000 + np.tile([0, 400, -300], 30)
    assert uneven_times(jittered, 1 / 30000, 30.0) is None
    assert uneven_times(np.array([0, 40, 40, 120]), 1e-3, 25.0) is None  # no use: two frames at once


def test_times_of_an_unknown_rate_are_kept() -> None:
    assert uneven_times(np.array([80, 120, 160]), 1e-3, 0.0) == pytest.approx([0, 0.04, 0.08])


def test_the_time_of_day_is_the_containers(tmp_path: Path) -> None:
    timing = read(draw(tmp_path / "a.mp4", range(0, 400, 40), created="2026-11-22T10:00:00.000000Z"))
    assert timing is not None and timing.times is None
    assert timing.started == datetime(2026, 11, 22, 10, tzinfo=UTC)
    kept = read_timing({name.encode(): value.encode() for name, value in timing_metadata(timing).items()})
    assert kept.started == timing.started


@pytest.mark.parametrize("text", [None, "", "yesterday", "1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z"])
def test_a_clock_that_was_never_set_tells_nothing(text: str | None) -> None:
    assert creation_time(text) is None
