"""Streams that hang, are damaged, change or lie: bounded in time and memory, and no address but the given one."""

import time
from pathlib import Path

import av
import numpy as np
import pytest

from anomalyclip.data.video import DecodeError
from anomalyclip.live.cameras import connection
from anomalyclip.live.cameras.connection import connected, stamped
from anomalyclip.live.cameras.sources import Source, parse_sources
from tests.cameras import process_of, watching
from tests.streams import draw, http_server, numbers_in, rtsp_server

PLAYLISTS = ["#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n"]


def source(address: str) -> Source:
    return parse_sources([address])[0]


def test_a_server_that_says_nothing_is_given_up(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OPEN_TIMEOUT", 0.5)
    with http_server(video) as server:
        server.silent = True
        began = time.monotonic()
        with pytest.raises(av.error.FFmpegError), connected(source(server.address("live.ts")), 10**6):
            pass
        assert time.monotonic() - began < 5


def test_a_server_that_stops_in_the_middle_is_given_up(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT", 0.5)
    with rtsp_server(video) as server, connected(source(server.address()), 10**6) as opened:
        packets = opened.packets()
        next(packets)
        server.freeze()
        began = time.monotonic()
        with pytest.raises(av.error.FFmpegError):
            list(packets)
        assert time.monotonic() - began < 5


@pytest.mark.accept
def test_damage_costs_some_frames_and_not_the_stream(tmp_path: Path) -> None:
    moving = draw(tmp_path / "a.mp4", 400, picture=lambda number: noise(number), crf="30")
    with http_server(moving) as server:
        server.damage = True
        with watching(server.address("live.ts")) as watched:
            watched.frames(60)
        assert server.connections == 1
    assert len(set(watched.numbers)) == len(watched.numbers) == 60


def noise(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(number).integers(0, 255, (180, 320, 3), np.uint8)


@pytest.mark.accept
def test_a_slow_consumer_costs_frames_that_are_counted(video: Path) -> None:
    with http_server(video) as server, watching(server.address("live.ts"), queue_frames=8) as watched:
        watched.frames(5)
        memory = process_of(watched.camera).memory_full_info().uss
        end = time.monotonic() + 2
        while time.monotonic() < end:
            watched.look(0)
            assert watched.camera.depth <= 8
        assert process_of(watched.camera).memory_full_info().uss - memory < 30e6
        watched.frames(16)
    assert watched.dropped > 10
    assert watched.numbers[-1] + 1 == len(watched.numbers) + watched.dropped
    assert watched.seen == watched.numbers


@pytest.mark.accept
def test_a_stream_may_change_its_size(video: Path, tmp_path: Path) -> None:
    larger = draw(tmp_path / "b.mp4", 400, (640, 360))
    with http_server(video) as server, watching(server.address("live.ts"), max_pixels=640 * 360) as watched:
        watched.frames(10)
        watched.camera.record("a", watched.times[-1], tmp_path / "a.mp4")
        server.kill()
        server.video = larger
        server.start()
        watched.until(lambda: (360, 640) in watched.sizes)
        watched.frames(10)
    assert set(watched.sizes) == {(180, 320), (360, 640)}
    assert watched.seen[-1] == len([size for size in watched.sizes if size == (360, 640)]) - 1 + watched.dropped
    found = numbers_in(tmp_path / "a.mp4")
    assert found == list(range(len(found)))  # of the first size alone


@pytest.mark.accept
def test_a_recording_may_change_its_size_and_stamps_in_the_middle(tmp_path: Path) -> None:
    parts = draw(tmp_path / "a.ts", 30), draw(tmp_path / "b.ts", 30, (640, 360))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with watching(joined, clip_before=10) as watched:
        watched.frames(20)
        watched.camera.record("a", watched.times[-1], tmp_path / "a.mp4")
        watched.until(lambda: watched.ended)
    assert watched.sizes == [(180, 320)] * 30 + [(360, 640)] * 30
    assert 2.2 < watched.times[-1] - watched.times[0] < 3.0
    assert numbers_in(tmp_path / "a.mp4") == list(range(30))


def test_a_picture_too_large_is_refused(video: Path) -> None:
    with (
        http_server(video) as server, pytest.raises(DecodeError, match="more than extraction"),
        connected(source(server.address("live.ts")), 100 * 100),
    ):  # fmt: skip
        pass


def test_a_redirection_is_not_followed(video: Path) -> None:
    with http_server(video) as server:
        with pytest.raises(av.error.FFmpegError), connected(source(server.address("elsewhere")), 10**6):
            pass
        assert server.connections == 1


@pytest.mark.parametrize("content", PLAYLISTS)
def test_a_playlist_is_not_followed(content: str, video: Path) -> None:
    with http_server(video) as server:
        server.text = content.format(server.address("live.ts"))
        with pytest.raises(av.error.FFmpegError), connected(source(server.address("text")), 10**6):
            pass
        assert server.connections == 1


def test_a_login_is_used_and_never_shown(video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with rtsp_server(video, login="viewer of:the/tests") as server:
        with watching(server.address("viewer:secret@")) as watched:
            watched.until(lambda: "401" in watched.camera.fault)
            assert "secret" not in watched.camera.fault + " ".join(process_of(watched.camera).cmdline())
        with connected(source(server.address("viewer:of%3Athe%2Ftests@")), 10**6) as opened:
            assert opened.codec == "h264"
    assert "secret" not in "".join(capfd.readouterr())


def test_packets_without_stamps_get_them() -> None:
    def packet(stamp: int | None, size: int = 1) -> av.Packet:
        made = av.Packet(size)
        made.pts = made.dts = stamp
        return made

    stamps = [None, None, 3000, None, 9000]
    found = list(stamped([packet(stamp) for stamp in stamps] + [packet(None, 0)], 3000))
    assert [each.dts for each in found] == [-3000, 0, 3000, 6000, 9000, None]
