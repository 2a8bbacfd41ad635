"""Clips and pictures of packets: whole from a key frame on, whatever the codec, the groups and the order of frames."""

import resource
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyclip.data.orientation import Orientation
from anomalyclip.live.cameras.clips import Clip, partial_of
from anomalyclip.live.cameras.connection import connected
from anomalyclip.live.cameras.packets import PacketRing, Stored
from anomalyclip.live.cameras.pictures import write_picture
from anomalyclip.live.cameras.sources import parse_sources
from tests.streams import FPS, draw, number_in, numbers_in

BEGAN = 1000.0
HEVC = {"preset": "ultrafast", "x265-params": "keyint=25:bframes=2:log-level=0"}
KINDS = {
    "groups of a second": ("a.mp4", "libx264", {"bf": "0"}),
    "a long group with frames out of order": ("a.mp4", "libx264", {"bf": "3", "g": "60"}),
    "a transport stream": ("a.ts", "libx264", {"bf": "2", "g": "50"}),
    "open groups, in MPEG-2": ("a.ts", "mpeg2video", {"bf": "2", "g": "24", "b": "2M"}),
    "HEVC": ("a.mp4", "libx265", HEVC),
    "motion JPEG": ("a.mkv", "mjpeg", {}),
    "MPEG-4": ("a.avi", "mpeg4", {"g": "25"}),
}  # fmt: skip


def ring_of(path: Path, seconds: float = 100.0, connections: int = 1) -> PacketRing:
    ring = PacketRing(seconds)
    for number in range(connections):
        with connected(parse_sources([str(path)])[0], 10**6) as opened:
            for packet in opened.packets():
                list(packet.decode())
                for each in opened.filtered(packet) if packet.size else []:
                    time = BEGAN + 10 * number + float(each.pts * each.time_base)
                    stamps = each.pts, each.dts, opened.frame_ticks
                    ring.add(Stored(bytes(each), time, *stamps, each.is_keyframe, opened.encoding(number)))
    return ring


def steps_of(path: Path) -> NDArray[np.float64]:
    """Seconds from each frame to the next."""
    with av.open(str(path)) as container:
        return np.diff([frame.time for frame in container.decode(video=0)])


CASES = [pytest.param(kind, marks=pytest.mark.accept) if kind == "HEVC" else kind for kind in KINDS]


@pytest.mark.parametrize("kind", CASES)
def test_a_clip_is_whole_from_the_key_frame_before_its_begin(kind: str, tmp_path: Path) -> None:
    name, codec, options = KINDS[kind]
    ring = ring_of(draw(tmp_path / name, 100, codec=codec, **options))
    newest = ring.newest
    assert newest
    began = ring.since(0)[0].time
    clip = Clip(tmp_path / f"clip{newest.encoding.suffix}", began + 2.5, 1.0)
    assert clip.catch_up(ring, began + 3.0)
    assert not clip.target.exists() and partial_of(clip.target).exists()
    assert clip.finish() and not partial_of(clip.target).exists()
    found = numbers_in(clip.target)
    key = max(packet.time for packet in ring.since(0) if packet.key and packet.time <= began + 2.5)
    first = round((key - began) * FPS)
    assert found[0] == first and found == list(range(first, found[-1] + 1))
    assert found[-1] - 5 <= 3.5 * FPS <= found[-1] + 1

    with av.open(str(clip.target)) as container:
        shown = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert shown[0] == min(shown), "frames that need what is not in the clip"

    write_picture(ring, began + 2.6, Orientation(), 10**6, tmp_path / "a.jpg")
    assert abs(number_in(cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]) - 2.6 * FPS) <= 1


def test_a_clip_is_of_constant_speed_and_goes_on_in_time_over_a_cut(tmp_path: Path) -> None:
    ring = ring_of(draw(tmp_path / "a.mp4", 50, bf="2"), connections=2)
    clip = Clip(tmp_path / "clip.mp4", BEGAN, 60.0)
    assert not clip.catch_up(ring, BEGAN + 12)
    assert clip.finish()
    assert numbers_in(clip.target) == [*range(50), *range(50)]
    steps = steps_of(clip.target)
    np.testing.assert_allclose(np.delete(steps, 49), 1 / FPS, atol=1e-3)
    assert 7.8 < steps[49] < 8.2


def test_a_clip_goes_on_in_time_when_a_camera_sets_its_stamps_anew(tmp_path: Path) -> None:
    ring = PacketRing(100.0)
    for packet in ring_of(draw(tmp_path / "a.mp4", 50, bf="2"), connections=2).since(0):
        ring.add(packet._replace(encoding=packet.encoding._replace(connection=0)))
    clip = Clip(tmp_path / "clip.mp4", BEGAN, 60.0)
    clip.catch_up(ring, BEGAN + 12)
    clip.finish()
    assert numbers_in(clip.target) == [*range(50), *range(50)]
    assert 7.8 < steps_of(clip.target)[49] < 8.2


def test_a_clip_goes_on_at_a_key_frame_where_packets_are_gone(tmp_path: Path) -> None:
    packets = ring_of(draw(tmp_path / "a.mp4", 100)).since(0)
    ring = PacketRing(1.0)
    clip = Clip(tmp_path / "clip.mp4", BEGAN, 60.0)
    for packet in packets[:30]:
        ring.add(packet)
    clip.catch_up(ring, BEGAN)
    for packet in packets[30:]:  # the ring forgets some of them in the meantime
        ring.add(packet)
    clip.catch_up(ring, BEGAN)
    clip.finish()
    assert numbers_in(clip.target) == [*range(30), *range(50, 100)]


def test_a_clip_without_packets_is_no_file(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "clip.mp4", 0.0, 1.0)
    assert not clip.catch_up(PacketRing(1.0), 0.5) and clip.catch_up(PacketRing(1.0), 2.0)
    assert not clip.finish()
    assert not write_picture(PacketRing(1.0), 0.0, Orientation(), 10**6, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_the_first_or_the_newest_where_its_time_is_not_there(tmp_path: Path) -> None:
    ring = ring_of(draw(tmp_path / "a.mp4", 100, bf="2"), seconds=1.0)
    for moment, expected in ((BEGAN, 50), (BEGAN + 60, 99)):
        assert write_picture(ring, moment, Orientation(), 10**6, tmp_path / "a.jpg")
        assert number_in(cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]) == expected


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_clip_that_a_full_disk_cut_off_is_not_taken_for_a_whole_one(part: float, suffix: str, tmp_path: Path) -> None:
    ring = ring_of(draw(tmp_path / f"a{suffix}", 50, codec="libx264" if suffix == ".mp4" else "mjpeg"))
    clip, most = Clip(tmp_path / f"clip{suffix}", BEGAN, 100.0), sum(len(each.data) for each in ring.since(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(part * most), before[1]))
    try:
        with suppress(OSError, av.error.FFmpegError):  # ends the clip
            clip.catch_up(ring, BEGAN)
        with pytest.raises((OSError, av.error.FFmpegError)):
            clip.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    clip.give_up()
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
