"""Cameras that tests watch: drawn videos, and servers of them by RTSP and HTTP, to be cut and started again."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.servers import free_port

RTSP_SERVER = Path(__file__).parent / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = ("gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good",
            "gstreamer1.0-plugins-bad", "python3-gi")  # fmt: skip
FPS = 25
SOUND_RATE = 48_000
BITS = 12
"""Bits of a frame's number that are drawn in it."""


def draw(
    path: Path, frames: int = 100, size: tuple[int, int] = (320, 180), codec: str = "libx264",
    picture: Callable[[int], NDArray[np.uint8]] | None = None, first: int = 0, **options: str,
) -> Path:  # fmt: skip
    """A video of 25 frames/s, in which `number_in` finds the number of each frame."""
    if codec == "libx264":
        options = {"preset": "ultrafast", "g": "25", "x264-params": "threads=1", **options}
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        if "g" in options:
            stream.codec_context.gop_size = int(options["g"])
        for number in range(frames):
            pixels = picture(number) if picture else numbered(first + number, size)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture with its number in white and black squares in the top left corner."""
    width, height = size
    pixels = np.full((height, width, 3), 110, np.uint8)
    left = (number * 5) % (width - 40)
    pixels[height // 2 : height // 2 + 40, left : left + 40] = (200, 60, 30)
    pixels[:16, : 16 * BITS] = 0
    for bit in range(BITS):
        if number >> bit & 1:
            pixels[:16, 16 * bit : 16 * bit + 16] = 255
    return pixels


def number_in(pixels: NDArray[np.uint8]) -> int:
    """The number of a picture."""
    return sum(int(pixels[4:12, 16 * bit + 4 : 16 * bit + 12].mean() > 128) << bit for bit in range(BITS))


def numbers_in(path: Path) -> list[int]:
    """The numbers of the frames of a file; fails for one that cannot be decoded to its end."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert not any(frame.is_corrupt for frame in frames)
    return [number_in(frame.to_ndarray(format="rgb24")) for frame in frames]


@cache
def _have_rtsp() -> bool:
    imports = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer;"
    needs = "Gst.init(None); exit(not all(map(Gst.ElementFactory.find, ('qtdemux', 'rtph264pay', 'h264parse'))))"
    command = [SYSTEM_PYTHON, "-c", imports + needs]
    return Path(SYSTEM_PYTHON).exists() and subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def need_rtsp() -> None:
    """Skip the test where GStreamer's server is missing and this user may not install it."""
    if not _have_rtsp() and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", "--quiet", *step], env=quiet, timeout=600, check=False, capture_output=True)
        _have_rtsp.cache_clear()
    if not _have_rtsp():
        pytest.skip(f"needs GStreamer's RTSP server: apt-get install {' '.join(PACKAGES)}")


class RtspServer:
    """A server of one video at a fixed port."""

    def __init__(self, video: Path, codec: str, login: str) -> None:
        self._arguments = str(video), codec, login
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def address(self, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Return when it serves."""
        command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(self.port), *self._arguments]
        self._process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """Cut all connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Keep the connections and send nothing, until it is killed or thawed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def rtsp_server(video: Path, codec: str = "h264", login: str = "") -> Iterator[RtspServer]:
    """GStreamer's RTSP server with a video, which wants a login `USER PASSWORD` if one is given."""
    need_rtsp()
    server = RtspServer(video, codec, login)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class HttpServer:
    """A server of streams at a fixed port; `/live.ts`, `/live.mjpeg` and `/file.mp4` of one video."""

    def __init__(self, video: Path) -> None:
        self.video = video
        self.port = free_port()
        self.silent = False
        """Whether it accepts connections, and says nothing."""
        self.damage = False
        """Whether it spoils some of what it sends."""
        self.text = ""
        """Of `/text`."""
        self.connections = 0
        self._server: Any = None

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._server.open = set()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def kill(self) -> None:
        """Cut all connections, and accept none."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()
            for connection in list(server.open):
                with suppress(OSError):
                    connection.shutdown(2)


@contextmanager
def http_server(video: Path) -> Iterator[HttpServer]:
    """A server of streams of a video."""
    server = HttpServer(video)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _handler(server: HttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.connections += 1
            mine = server._server
            mine.open.add(self.connection)
            with suppress(OSError, ValueError, av.error.FFmpegError):
                if server.silent:
                    self.connection.recv(1)
                    time.sleep(60)
                _RESPONSES[self.path](self, server)
            mine.open.discard(self.connection)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _begin(handler: BaseHTTPRequestHandler, kind: str, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def _paced(packets: Iterator[Any]) -> Iterator[Any]:
    """Yield packets when they are due."""
    began = time.monotonic()
    for packet in packets:
        if packet.size:
            time.sleep(max(0.0, began + float(packet.dts * packet.time_base) - time.monotonic()))
            yield packet


class _Body:
    """What a muxer writes, sent on; now and then spoiled."""

    def __init__(self, handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
        self._handler, self._server, self._writes = handler, server, 0

    def write(self, data: bytes) -> int:
        self._writes += 1
        if self._server.damage and self._writes > 100 and self._writes % 40 == 0:
            data = bytes(data[:60]) + bytes(100) + bytes(data[160:])
        self._handler.wfile.write(data)
        return len(data)


def _transport(handler: BaseHTTPRequestHandler, server: HttpServer) -> Any:
    at_once = {"flush_packets": "1"}
    return av.open(_Body(handler, server), "w", format="mpegts", buffer_size=1316, container_options=at_once)


def _send_transport_stream(handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
    _begin(handler, "video/mp2t")
    with av.open(str(server.video)) as source, _transport(handler, server) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        sound = sink.add_stream("mp2", rate=SOUND_RATE)
        heard = 0
        for packet in _paced(source.demux(video=0)):
            while heard < packet.dts * packet.time_base * SOUND_RATE:  # a muxer waits for what is behind
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
                silence.sample_rate, silence.pts = SOUND_RATE, heard
                sink.mux(sound.encode(silence))
                heard += 1152
            packet.stream = stream
            sink.mux(packet)


def _send_pictures(handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
    _begin(handler, "multipart/x-mixed-replace; boundary=next")
    with av.open(str(server.video)) as source:
        for packet in _paced(source.demux(video=0)):
            data = bytes(packet)
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")


def _send_file(handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
    data = server.video.read_bytes()
    _begin(handler, "video/mp4", len(data))
    handler.wfile.write(data)


def _send_elsewhere(handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
    handler.send_response(302)
    handler.send_header("Location", server.address("live.ts"))
    handler.end_headers()


def _send_text(handler: BaseHTTPRequestHandler, server: HttpServer) -> None:
    _begin(handler, "application/vnd.apple.mpegurl", len(server.text))
    handler.wfile.write(server.text.encode())


_RESPONSES = {
    "/text": _send_text,
    "/live.ts": _send_transport_stream,
    "/live.mjpeg": _send_pictures,
    "/file.mp4": _send_file,
    "/elsewhere": _send_elsewhere,
}
