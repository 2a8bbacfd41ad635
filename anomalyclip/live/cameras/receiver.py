"""Receiving a source in its process: connect, decode, keep packets and frames, and connect again."""

import secrets
import threading
import time
from collections import deque
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from anomalyclip.config import LiveConfig
from anomalyclip.data.containers import ContainerError
from anomalyclip.data.orientation import orientation_of
from anomalyclip.data.video import DecodeError, pixels_of
from anomalyclip.live.cameras.clock import Clock, Thinning, rising
from anomalyclip.live.cameras.connection import Connection, connected
from anomalyclip.live.cameras.frame_queue import FrameQueue
from anomalyclip.live.cameras.packets import PacketRing, Stored
from anomalyclip.live.cameras.recorder import Recorder
from anomalyclip.live.cameras.sight import PictureWatch
from anomalyclip.live.cameras.sources import Source
from anomalyclip.live.frames import SightChange
from anomalyclip.redaction import redact

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to connect; the first is 1, and each twice the one before."""
MOST_BARREN = 1000
"""Packets without a frame after which the source is connected again."""
MOST_CHANGES = 100
"""Changes of sight that wait to be told; more mean that nobody asks."""
KEPT = 20.0
"""Seconds of packets that are kept beside `clip_before`: an event is known only some time after its start."""


class Receiver:
    """Thread that receives one source, until the process ends or a recording has come to its end."""

    def __init__(self, source: Source, settings: LiveConfig, first_number: int, max_pixels: int) -> None:
        self._source, self._settings, self._max_pixels = source, settings, max_pixels
        self.queue = FrameQueue(settings.queue_frames)
        self.ring = PacketRing(settings.clip_before + KEPT)
        self.recorder = Recorder(self.ring, settings, max_pixels)
        self.changes = deque[SightChange](maxlen=MOST_CHANGES)
        self.ended = False
        self.fault = ""
        """Why there is no connection now; without addresses."""
        self.suffix = ".mp4"
        self.alive = self.latest = time.monotonic()
        """When it last did anything, and received its last frame (or was started)."""
        self._number = first_number
        self._connections = 0
        self._time = 0.0
        self._thinning = Thinning(settings.fps)
        self._pictures = PictureWatch(settings.blind_after)
        self._reformatter = VideoReformatter()

    def start(self) -> None:
        """Begin to receive."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        pause = 1.0
        while not self.ended:
            self.alive = before = time.monotonic()
            try:
                with connected(self._source, self._max_pixels) as connection:
                    self._connections += 1
                    self._receive(connection)
                self.fault = "" if self.ended else "the stream ended"
            except (av.error.FFmpegError, OSError) as error:
                self.fault = str(error.strerror or type(error).__name__)
            except (DecodeError, ContainerError, ValueError, MemoryError) as error:
                self.fault = type(error).__name__ if isinstance(error, MemoryError) else _last_part(error)
            self.ended = self.ended or self._source.kind == "file"
            if not self.ended:
                pause = 1.0 if self.latest > before else min(LONGEST_PAUSE, 2 * pause)
                self._sleep(pause * (0.75 + secrets.randbelow(500) / 1000))  # not all cameras of a switch at once

    def _receive(self, connection: Connection) -> None:
        pace = Clock()
        barren = 0
        for packet in connection.packets():
            now = time.time()
            self.alive = time.monotonic()
            _anchor(pace, connection, packet, now)
            frames = self._decoded(connection, packet)
            self._keep(connection, packet, pace, now)
            barren = 0 if frames else barren + 1
            if barren > MOST_BARREN:
                raise DecodeError("no frame can be decoded")
            for frame in frames:
                stamped = frame.time if connection.timed else None
                shown = pace.time(stamped, now)
                if connection.recorded:
                    self._sleep(shown - time.time())
                self._show(frame, rising(shown, self._time))
        self.ended = connection.recorded

    def _decoded(self, connection: Connection, packet: Any) -> list[Any]:
        try:
            return [frame for frame in packet.decode() if not frame.is_corrupt]
        except av.error.FFmpegError:  # one damaged packet is no reason to lose the stream
            return []

    def _keep(self, connection: Connection, packet: Any, pace: Clock, now: float) -> None:
        if not packet.size:
            return
        encoding = connection.encoding(self._connections)
        self.suffix = encoding.suffix
        try:
            filtered = connection.filtered(packet)
        except av.error.FFmpegError:
            return
        for each in filtered:
            pts, dts = each.pts, each.dts
            if not connection.timed:
                pts = dts = round(now / encoding.time_base)
            pts, dts = (dts if pts is None else pts), (pts if dts is None else dts)
            stamp = float(pts * encoding.time_base) if connection.timed else None
            duration = each.duration or connection.frame_ticks
            self.ring.add(Stored(bytes(each), pace.time(stamp, now), pts, dts, duration, each.is_keyframe, encoding))

    def _show(self, frame: Any, shown: float) -> None:
        number, self._number = self._number, self._number + 1
        self._time, self.latest = shown, time.monotonic()
        if (change := self._pictures.see(frame, shown)) is not None:
            self.changes.append(change)
        if not self._thinning.takes(shown):
            return
        orientation = self.recorder.orientation = orientation_of(frame)
        size = {"width": frame.width, "height": frame.height}
        self.queue.put(pixels_of(self._reformatter, frame, size, orientation), number, shown)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.alive = time.monotonic()
            time.sleep(min(1.0, left))


def _anchor(pace: Clock, connection: Connection, packet: Any, now: float) -> None:
    stamp = packet.dts if packet.dts is not None else packet.pts
    if stamp is None or not connection.timed:
        return
    if connection.recorded:
        pace.play(float((stamp if packet.pts is None else packet.pts) * packet.time_base), now)
    else:
        pace.anchor(float(stamp * packet.time_base), now)


def _last_part(error: Exception) -> str:
    """Return a message without the address in front of it."""
    return redact(str(error).rpartition(": ")[2])
