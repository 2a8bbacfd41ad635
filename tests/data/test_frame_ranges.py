from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyclip.data.frame_ranges import Borders, FrameTable, RangeReader, first_look, frame_table
from anomalyclip.data.video import DecodeError, VideoReader
from tests.long_footage import OPEN_GOP, REFRESH, draw_long

SPACING, BATCH = 60, 20


def table_of(video: Path) -> FrameTable | None:
    return frame_table(video, SPACING, first_look(video))


def read(video: Path, table: FrameTable, number: int) -> tuple[list[np.ndarray], Borders]:
    wanted = table.range(number, SPACING)
    assert wanted is not None
    reader = RangeReader(video, wanted, batch_size=BATCH)
    return list(reader), reader.info


@pytest.mark.parametrize(
    "name, drawn",
    [
        ("plain.mp4", {}),
        ("open.mkv", {"options": OPEN_GOP, "sound": True}),
        ("uneven.mp4", {"uneven": True}),
        ("open.ts", {"options": OPEN_GOP, "sound": True}),
        ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}}),
        ("a.avi", {"codec": "mjpeg", "options": {}}),
    ],
)
def test_ranges_have_the_batches_of_one_pass_and_agree_at_their_borders(
    name: str, drawn: Mapping[str, Any], tmp_path: Path
) -> None:
    video = draw_long(tmp_path / name, 200, **drawn)
    table = table_of(video)
    assert table is not None

    ranges = [read(video, table, number) for number in (3, 0, 2, 1)]

    batches = [batch for number in (1, 3, 2, 0) for batch in ranges[number][0]]
    reader = VideoReader(video, batch_size=BATCH)
    for batch, expected in zip(batches, reader, strict=True):
        assert np.array_equal(batch, expected)
    borders = [ranges[number][1] for number in (1, 3, 2, 0)]
    assert all(before.tail == after.head for before, after in pairwise(borders))
    assert (borders[0].head, len(borders[1].head), borders[3].tail) != ((), 0, ())
    assert (table.info.num_frames, table.info.fps) == (200, reader.info.fps)
    times, expected_times = [info.timing and info.timing.times for info in (table.info, reader.info)]
    assert np.array_equal(times, expected_times) if name == "uneven.mp4" else times is expected_times is None


def test_frames_that_are_not_where_their_packets_put_them_are_an_error(tmp_path: Path) -> None:
    video = draw_long(tmp_path / "a.mp4", 200, options=REFRESH)  # its key frames are whole after 25 more
    table = table_of(video)
    assert table is not None
    with pytest.raises(DecodeError, match="another frame 25 than its packets promise"):
        read(video, table, 1)


def test_a_video_without_key_frames_near_the_borders_has_no_table(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=10000:scenecut=0"}
    assert table_of(draw_long(tmp_path / "a.mp4", 200, options=options, gop=10_000)) is None
