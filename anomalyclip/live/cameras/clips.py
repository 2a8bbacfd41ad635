"""Clips of a live camera: its packets as they came, written while they come."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from anomalyclip.live.cameras.clock import JUMP
from anomalyclip.live.cameras.packets import Encoding, PacketRing, Stored

WAIT = 3.0
"""Seconds after a clip's end in which its last packets may still come."""
FORMATS = {".mp4": ("mp4", {"movflags": "faststart"}), ".mkv": ("matroska", {})}


def partial_of(target: Path) -> Path:
    """Return the name under which a file is written until it is whole."""
    return target.with_name(f"{target.name}.partial")


class Clip:
    """One clip, from the key frame before `begin` to `end` (Unix times); it appears when it is finished.

    Times go on over a reconnect as they did in life. A clip ends early where the encoding changes.
    """

    def __init__(self, target: Path, begin: float, longest: float) -> None:
        self.target = target
        self._begin = begin
        self.end = begin + longest
        """May be set to an earlier time."""
        self._container: Any = None
        self._stream: Any = None
        self._encoding: Encoding
        self._cursor: int | None = None
        self._first: Stored
        self._last_dts = -1
        self._latest = -math.inf
        self._written = 0
        self._complete = False

    def catch_up(self, ring: PacketRing, now: float) -> bool:
        """Write what has come since; return whether the clip has all it will have. Raises OSError."""
        if self._cursor is None:
            first = ring.key_before(self._begin)
            if first is None:
                return now > self.end
            self._cursor = first.number
        for packet in ring.since(self._cursor):
            # all frames up to the latest have come when a later one comes: it may be decoded before them
            if self.end < self._latest < packet.time or not self._write(packet):
                self._complete = True
                break
            self._cursor = packet.number + 1
        return self._complete or now > self.end + WAIT

    def finish(self) -> bool:
        """Complete the file and give it its name; return whether there is one. Raises OSError or FFmpegError."""
        if self._container is None:
            return False
        self._container.close()
        self._container = None
        self._check()
        partial_of(self.target).replace(self.target)
        return True

    def give_up(self) -> None:
        """Remove what was written."""
        self._container = None
        partial_of(self.target).unlink(missing_ok=True)

    def _check(self) -> None:
        """Raise OSError if packets are missing in the file: a full disk is no error to the muxer."""
        with av.open(f"file:{partial_of(self.target)}") as container:
            found = sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
        if found < self._written:
            raise OSError(f"{self.target.name} has {found} of {self._written} packets")

    def _write(self, packet: Stored) -> bool:
        if self._container is None:
            self._start(packet)
        elif not packet.encoding.continues(self._encoding):
            return False
        elif packet.encoding.connection != self._encoding.connection or self._jumped(packet):
            if not packet.key:  # of a group whose key frame came before the cut
                return True
            self._go_on(packet)
        pts, dts = packet.pts + self._shift, packet.dts + self._shift
        if pts < self._from:  # of an open group of pictures: what it was made from is not in the clip
            return True
        self._latest = max(self._latest, packet.time)
        dts = self._last_dts = max(dts, self._last_dts + 1)
        muxed = av.Packet(packet.data)
        muxed.stream = self._stream
        muxed.time_base = self._encoding.time_base
        muxed.pts, muxed.dts, muxed.is_keyframe = max(pts, dts), dts, packet.key
        muxed.duration = packet.duration
        self._container.mux(muxed)
        self._written += 1
        return True

    def _jumped(self, packet: Stored) -> bool:
        """Whether stamps have left the times of the packets: a camera was set anew."""
        passed = float((packet.pts + self._shift) * self._encoding.time_base)
        return abs(passed - (packet.time - self._first.time)) > JUMP

    def _start(self, packet: Stored) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        encoding = self._encoding = packet.encoding
        name, options = FORMATS[encoding.suffix]
        self._container = av.open(f"file:{partial_of(self.target)}", "w", format=name, options=options)
        size = {"width": encoding.width, "height": encoding.height}
        self._stream = self._container.add_mux_stream(encoding.codec, **size)
        self._stream.time_base = encoding.time_base
        self._first = packet
        self._align(packet, 0)

    def _go_on(self, packet: Stored) -> None:
        self._encoding = packet.encoding
        passed = Fraction(packet.time - self._first.time) / self._encoding.time_base
        self._align(packet, max(int(passed), self._last_dts + 1))

    def _align(self, packet: Stored, ticks: int) -> None:
        self._shift = ticks - packet.dts
        self._from = packet.pts + self._shift
