"""Containers of videos: which one a file is, by its first bytes, and where it should end.

The decoder opens a file as the container found here and as nothing else. Playlists, scripts and lists of pictures make
FFmpeg open the files and addresses that they name, so what they are must be known before FFmpeg reads them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

HEAD_BYTES = 4096
TAIL_BYTES = 2**18
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"mfra"))
_PACKETS = (188, 192, 204)
"""Bytes of a packet of a transport stream: plain, with a time in front, with a checksum behind."""


class Container(NamedTuple):
    """A kind of container."""

    format: str
    """FFmpeg's name of it."""
    end: Callable[[BinaryIO, int], int | None] | None
    """Of an open file and its size: bytes that the file says it has, None if it does not; None for a container that
    never says it.
    """


class ContainerError(Exception):
    """A file that is not opened; the message is one line, without the file's name."""


def container_of(path: Path) -> Container:
    """Return the container of a regular file; raises ContainerError, and OSError if it cannot be read.

    A file that is shorter than its own headers say is refused.
    """
    if not S_ISREG(path.stat().st_mode):  # opening a pipe may wait for ever
        raise ContainerError("not a regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        container = _recognise(file.read(HEAD_BYTES))
        if container is None:
            known = ", ".join(CONTAINERS)
            raise ContainerError(f"not a video: its first bytes are of none of {known}" if size else "an empty file")
        end = container.end(file, size) if container.end else None
    if end is not None and end > size:
        raise ContainerError(f"cut off: {size} bytes of {end}")
    return container


def _recognise(head: bytes) -> Container | None:
    signatures = {
        "mp4": head[4:8] in _BOXES,
        "avi": head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVI\x19", b"AVIX"),
        "matroska": head[:4] == b"\x1a\x45\xdf\xa3",
        "flv": head[:4] == b"FLV\x01",
        "asf": head[:16] == _ASF,
        "mpeg": head[:4] == b"\0\0\1\xba",
        "mpegvideo": head[:4] == b"\0\0\1\xb3",
        "mjpeg": head[:3] == b"\xff\xd8\xff",
        "mpegts": _packet_bytes(head) is not None,
    }
    return next((CONTAINERS[name] for name, found in signatures.items() if found), None)


def _packet_bytes(head: bytes) -> tuple[int, int] | None:
    """Return the bytes of a transport packet and the place of the first one's sync byte, None for other files."""
    for size in _PACKETS:
        for start in range(size):
            if head[start : start + 8 * size : size] == b"\x47" * 8:
                return size, start
    return None


def _boxes_end(file: BinaryIO, size: int) -> int | None:
    """Walk over the boxes of mp4 and mov: 4 bytes size, 4 bytes kind; 1: 8 bytes of size follow, 0: the rest."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        length = int.from_bytes(head[8:16]) if length == 1 else length
        if length < 8 or (kind not in _BOXES and at + length > size):  # the rest, or bytes that are no box
            return size
        at += length
    return at


def _riff_end(file: BinaryIO, size: int) -> int | None:
    """Walk over the RIFF lists of avi; files above 1 GB have several."""
    at = 0
    while at + 12 <= size:
        file.seek(at + at % 2)
        head = file.read(8)
        if head[:4] != b"RIFF" or not (length := int.from_bytes(head[4:8], "little")):
            break
        at += at % 2 + 8 + length
    return at


def _segment_end(file: BinaryIO, size: int) -> int | None:
    """Return where the segment of matroska and webm ends; live recordings do not say."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    length, start = _element(head, 4)
    at = start + (length or 0)
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, start = _element(head, at + 4)
    return None if length is None else start + length


def _element(head: bytes, at: int) -> tuple[int | None, int]:
    """Return the size of an element of EBML, None if it is unknown, and the place of its content."""
    if at >= len(head) or not head[at]:
        return None, at
    width = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + width]) & (2 ** (7 * width) - 1)
    return (None if value == 2 ** (7 * width) - 1 else value), at + width


def _tag_end(file: BinaryIO, size: int) -> int | None:
    """Compare the last tag of flv with its size, which is repeated behind it."""
    file.seek(size - 4)
    length = int.from_bytes(file.read(4))
    file.seek(max(0, size - 4 - length))
    head = file.read(4)
    if not (11 <= length <= size - 13 and head[0] & 0x1F in (8, 9, 18) and int.from_bytes(head[1:4]) + 11 == length):
        raise ContainerError("cut off: it does not end with a whole tag")
    return size


def _asf_end(file: BinaryIO, size: int) -> int | None:
    """Return the size in the properties of asf; broadcasts have none."""
    file.seek(0)
    head = file.read(2**16)
    at = head.find(_ASF_PROPERTIES)
    broadcast = at < 0 or int.from_bytes(head[at + 88 : at + 92], "little") & 1
    return None if broadcast else int.from_bytes(head[at + 40 : at + 48], "little")


def _packs_end(file: BinaryIO, size: int) -> int | None:
    """Walk over the packets of a program stream from its last pack on."""
    file.seek(offset := max(0, size - TAIL_BYTES))
    tail = file.read()
    at = tail.rfind(b"\0\0\1\xba")
    if at < 0:
        return None
    at += 14 + (tail[at + 13] & 7) if len(tail) > at + 13 and tail[at + 4] & 0xC0 == 0x40 else 12
    while tail[at : at + 3] == b"\0\0\1" and tail[at + 3 : at + 4] > b"\xba":
        if len(tail) < at + 6:
            return offset + at + 6
        at += 6 + int.from_bytes(tail[at + 4 : at + 6])
    return offset + at


def _stream_end(file: BinaryIO, size: int) -> int | None:
    """Return the end of the last, perhaps incomplete, packet of a transport stream."""
    file.seek(0)
    found = _packet_bytes(file.read(HEAD_BYTES))
    assert found is not None
    length, start = found
    start -= 4 * (length == 192)
    return size + (start - size) % length


def _pictures_end(file: BinaryIO, size: int) -> int | None:
    """Look for the end mark of the last JPEG picture."""
    file.seek(max(0, size - TAIL_BYTES))
    if not file.read().rstrip(b"\0\r\n").endswith(b"\xff\xd9"):
        raise ContainerError("cut off: its last picture does not end")
    return size


CONTAINERS = {
    "mp4": Container("mov", _boxes_end),
    "avi": Container("avi", _riff_end),
    "matroska": Container("matroska", _segment_end),
    "flv": Container("flv", _tag_end),
    "asf": Container("asf", _asf_end),
    "mpeg": Container("mpeg", _packs_end),
    "mpegvideo": Container("mpegvideo", None),
    "mpegts": Container("mpegts", _stream_end),
    "mjpeg": Container("mjpeg", _pictures_end),
}
"""Containers by name."""
