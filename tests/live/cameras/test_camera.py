"""Cameras end to end: files, RTSP and HTTP, cut and found again, with clips and pictures of what they saw."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.cameras import watching
from tests.streams import FPS, draw, http_server, number_in, numbered, numbers_in, rtsp_server


def test_a_file_is_played_once_at_its_own_pace(tmp_path: Path) -> None:
    with watching(draw(tmp_path / "a.mp4", 30, bf="2", g="50")) as watched:
        watched.until(lambda: watched.ended)
    assert watched.seen == watched.numbers == list(range(30))
    np.testing.assert_allclose(np.diff(watched.times), 1 / FPS, atol=1e-3)
    assert min(watched.late) >= 0 and np.median(watched.late) < 0.5
    assert watched.changes == [] and watched.dropped == 0


@pytest.mark.accept
def test_clips_hold_the_packets_as_they_came_from_the_key_frame_before(video: Path, tmp_path: Path) -> None:
    with rtsp_server(video) as server, watching(server.address(), clip_before=0.5, clip_after=1) as watched:
        watched.frames(70)
        at, start = watched.seen[65], watched.times[65]
        clip = tmp_path / f"clip{watched.camera.suffix}"
        watched.camera.record("a", start, clip)
        watched.camera.picture(start, tmp_path / "clip.jpg")
        watched.frames(5)
        assert not clip.exists()
        watched.camera.finish("a", start + 0.5)
        watched.until(clip.exists)
        found = numbers_in(clip)
    begin = (at - FPS // 2) // FPS * FPS
    assert found == list(range(begin, found[-1] + 1)) and abs(found[-1] - (at + 1.5 * FPS)) <= 3
    assert clip.suffix == ".mp4" and codec_of(clip) == ("h264", 320, 180)
    assert abs(number_in(cv2.imread(str(tmp_path / "clip.jpg"))[..., ::-1]) - at) <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.jpg", "clip.mp4"]


def codec_of(path: Path) -> tuple[str, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, stream.width, stream.height


def test_an_rtsp_stream_that_is_cut_is_found_again(video: Path, tmp_path: Path) -> None:
    with rtsp_server(video) as server, watching(server.address(), lost_after=0.5) as watched:
        watched.frames(20)
        watched.camera.record("a", watched.times[-1], tmp_path / "a.mp4")
        watched.camera.picture(watched.times[10], tmp_path / "a.jpg")
        server.kill()
        watched.until(lambda: watched.sights[-1:] == ["lost"])
        server.start()
        watched.frames(20)
    assert watched.sights[-2:] == ["lost", "ok"]
    assert watched.numbers == list(range(len(watched.numbers)))
    assert np.all(np.diff(watched.times) > 0)
    # both connections show the video from its start, and the clip has both
    first = watched.seen.index(0, 1)
    assert watched.seen == [*range(first), *range(len(watched.seen) - first)]
    found = numbers_in(tmp_path / "a.mp4")
    assert abs(number_in(cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]) - 10) <= 2
    assert found.count(0) == 2 and found[:first] == list(range(first))


def test_http_transport_streams_pictures_and_recordings_are_read(video: Path, tmp_path: Path) -> None:
    pictures = draw(tmp_path / "m.mkv", 200, codec="mjpeg")
    with (
        http_server(video) as server, http_server(pictures) as other,
        watching(server.address("live.ts")) as stream, watching(other.address("live.mjpeg")) as jpeg,
    ):  # fmt: skip
        for watched in (stream, jpeg):
            watched.frames(10)
        assert jpeg.camera.suffix == ".mkv"
        jpeg.camera.record("a", jpeg.times[-1], tmp_path / "a.mkv")
        jpeg.camera.picture(jpeg.times[-1], tmp_path / "a.jpg")
        jpeg.until((tmp_path / "a.jpg").exists)
    for watched in (stream, jpeg):
        assert watched.seen == watched.numbers == list(range(len(watched.seen)))
    assert codec_of(tmp_path / "a.mkv")[0] == "mjpeg" and numbers_in(tmp_path / "a.mkv")


@pytest.mark.accept
def test_what_the_picture_shows_is_told(tmp_path: Path) -> None:
    def picture(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.full((180, 320, 3), 10, np.uint8) if number < 20 else numbered(number, (320, 180))

    with watching(draw(tmp_path / "a.mp4", 30, picture=picture), blind_after=0.5) as watched:
        watched.until(lambda: watched.ended)
    assert watched.sights == ["black", "ok"]
    assert 0.4 < watched.changes[0].time - watched.times[0] < 0.8 <= watched.changes[1].time - watched.times[0] < 1.1


@pytest.mark.accept
def test_a_server_that_hangs_is_left_and_found_again(video: Path) -> None:
    with rtsp_server(video) as server, watching(server.address()) as watched:
        watched.frames(30)
        server.freeze()
        watched.until(lambda: watched.sights[-1:] == ["lost"])
        watched.until(lambda: watched.camera.fault != "")
        server.kill()
        server.start()
        watched.frames(30)
    assert watched.sights[-2:] == ["lost", "ok"]


@pytest.mark.accept
@pytest.mark.parametrize(
    ("name", "sent_as", "codec", "options"),
    [
        ("a.mp4", "h264", "libx264", {"bf": "3", "g": "50"}),
        ("a.mp4", "sdp", "libx264", {"bf": "0", "g": "50"}),
        ("a.mp4", "h265", "libx265", {"preset": "ultrafast", "x265-params": "keyint=50:log-level=0"}),
        ("a.mkv", "jpeg", "mjpeg", {}),
    ],
)
def test_every_way_of_rtsp_gives_clips(
    name: str, sent_as: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    size = (320, 176)  # RTP wants JPEG in blocks of 16 pixels
    long = draw(tmp_path / name, 400, size, codec, **options)
    with rtsp_server(long, sent_as) as server, watching(server.address(), clip_before=1, clip_after=0.5) as watched:
        watched.frames(80)
        at, start = watched.seen[-1], watched.times[-1]
        clip, jpeg = tmp_path / f"clip{watched.camera.suffix}", tmp_path / "a.jpg"
        watched.camera.record("a", start, clip)
        watched.camera.finish("a", start + 0.2)
        watched.camera.picture(start, jpeg)
        watched.until(clip.exists)
        watched.until(jpeg.exists)
    assert watched.seen == list(range(watched.seen[0], watched.seen[0] + len(watched.seen)))
    np.testing.assert_allclose(np.diff(watched.times[50:]), 1 / FPS, atol=0.02)
    found = numbers_in(clip)
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] <= at - FPS + 3 and abs(found[-1] - at - 0.7 * FPS) <= 5
    assert abs(number_in(cv2.imread(str(jpeg))[..., ::-1]) - at) <= 1
