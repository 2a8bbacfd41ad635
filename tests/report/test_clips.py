"""Clips of events: their seconds before and after, the ends of the video, and their names."""

from pathlib import Path

import numpy as np
import pytest

from anomalyclip.data.manifest_checks import id_faults
from anomalyclip.data.video import VideoReader, timed_frames
from anomalyclip.data.video_writer import video_writer
from anomalyclip.report.clips import clip_name, cut_clips
from tests.events_found import event


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """24 s at 10 frames per second; columns of frame i are the bits of i."""
    with video_writer(tmp_path / "a.mp4") as writer:
        for number in range(240):
            bits = np.unpackbits(np.array([number], np.uint8))
            picture = np.broadcast_to(np.repeat(255 * bits, 8)[None, :, None], (48, 64, 3))
            writer.write(np.ascontiguousarray(picture), number / 10)
    return tmp_path / "a.mp4"


def frames(path: Path) -> list[int]:
    """Numbers in the source of a clip's frames."""
    pictures = np.concatenate(list(VideoReader(path)))
    return np.packbits(pictures[:, 24, 4::8, 0] > 127, axis=1)[:, 0].tolist()


def test_a_clip_has_five_seconds_before_and_ten_after(tmp_path: Path, source: Path) -> None:
    (clip,) = cut_clips(timed_frames(source), [event(start_frame=70, end_frame=89)], tmp_path / "clips")
    assert frames(clip) == list(range(20, 190))


def test_a_clip_ends_at_the_ends_of_the_video(tmp_path: Path, source: Path) -> None:
    early, late = event(start_frame=10, end_frame=19), event(start_frame=200, end_frame=239)
    first, second = cut_clips(timed_frames(source), [early, late], tmp_path)
    assert frames(first) == list(range(120))
    assert frames(second) == list(range(150, 240))


def test_context_can_be_chosen(tmp_path: Path, source: Path) -> None:
    (clip,) = cut_clips(timed_frames(source), [event(start_frame=70, end_frame=89)], tmp_path, before=0, after=0)
    assert frames(clip) == list(range(70, 90))


def test_names_tell_video_times_and_class_and_are_safe(tmp_path: Path) -> None:
    assert clip_name(event(start_frame=70, end_frame=89)) == "a_7.0-9.0_Fighting.mp4"
    for label in ('../<script>"x"', "Road Accidents", "a\nb\\c", "打" * 99, "x" * 999, "..."):
        name = clip_name(event("v" * 190, label=label))
        assert not list(id_faults(name.removeprefix("v" * 100))) and len(name.encode()) <= 255
