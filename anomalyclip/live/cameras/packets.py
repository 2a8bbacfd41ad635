"""The latest encoded packets of a camera: what clips and pictures are made of."""

import threading
from collections import deque
from fractions import Fraction
from typing import NamedTuple

MOST_BYTES = 2**26
"""Of a camera's packets: a minute at 8 Mbit/s."""


class Encoding(NamedTuple):
    """What a decoder and a container must know of packets; parameter sets are in the packets of key frames."""

    codec: str
    width: int
    height: int
    time_base: Fraction
    pixel_format: str | None = None
    connection: int = 0
    """Counts connections: stamps are of one only."""

    @property
    def suffix(self) -> str:
        """Of a file that holds such packets as they are: most codecs do not fit MP4, or no player finds them there."""
        return ".mp4" if self.codec in ("h264", "hevc") else ".mkv"

    def continues(self, other: "Encoding") -> bool:
        """Whether packets of the other may follow in one file."""
        return self._replace(connection=0, pixel_format=None) == other._replace(connection=0, pixel_format=None)


class Stored(NamedTuple):
    """A packet."""

    data: bytes
    time: float
    """Unix time in seconds at which it is shown."""
    pts: int
    """When it is shown, in units of the encoding's time base."""
    dts: int
    """The same, when it is decoded."""
    duration: int
    """In units of the time base; MP4 shows a last frame of none for no time."""
    key: bool
    encoding: Encoding
    number: int = 0
    """Given by the ring: rises by one from packet to packet."""


class PacketRing:
    """Packets of the last `seconds` seconds, from a key frame on; for several threads.

    Above `most_bytes` it holds less, down to nothing where a single group of pictures is larger.
    """

    def __init__(self, seconds: float, most_bytes: int = MOST_BYTES) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        self._packets = deque[Stored]()
        self._keys = deque[Stored]()
        self._bytes = 0
        self._next = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of the packets that are held."""
        return self._bytes

    def add(self, packet: Stored) -> None:
        """Append a packet; those before the first key frame are of no use and left out."""
        with self._lock:
            if not packet.key and not self._keys:
                return
            stored = packet._replace(number=self._next)
            self._next += 1
            self._packets.append(stored)
            self._bytes += len(stored.data)
            if stored.key:
                self._keys.append(stored)
            while len(self._keys) > 1 and (
                self._keys[1].time <= stored.time - self._seconds or self._bytes > self._most_bytes
            ):
                self._drop_before(self._keys[1].number)
            if self._bytes > self._most_bytes:
                self._drop_before(self._next)

    def since(self, number: int) -> list[Stored]:
        """Return the packets from a number on."""
        with self._lock:
            if not self._packets or self._packets[-1].number < number:
                return []
            skipped = max(0, number - self._packets[0].number)
            return [self._packets[place] for place in range(skipped, len(self._packets))]

    @property
    def newest(self) -> Stored | None:
        """The packet that came last."""
        with self._lock:
            return self._packets[-1] if self._packets else None

    def key_before(self, time: float) -> Stored | None:
        """Return the last key frame that is not after a time, else the first one; None if there is none."""
        with self._lock:
            before = [key for key in self._keys if key.time <= time]
            return before[-1] if before else next(iter(self._keys), None)

    def _drop_before(self, number: int) -> None:
        while self._packets and self._packets[0].number < number:
            self._bytes -= len(self._packets.popleft().data)
        while self._keys and self._keys[0].number < number:
            self._keys.popleft()
