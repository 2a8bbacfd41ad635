"""Pictures of a moment, decoded from a camera's latest packets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
from av.video.reformatter import VideoReformatter

from anomalyclip.data.frame_folder import Pixels
from anomalyclip.data.orientation import Orientation
from anomalyclip.data.video import pixels_of
from anomalyclip.live.cameras.packets import PacketRing, Stored
from anomalyclip.storage import whole_file

TOLERANCE = 2e-3
"""Seconds: the times of frames that come at once are set apart."""
QUALITY = 90
"""Of a JPEG."""


def write_picture(ring: PacketRing, time: float, orientation: Orientation, max_pixels: int, target: Path) -> bool:
    """Write the frame that is shown at a Unix time, else the nearest; return whether there was one. Raises OSError."""
    frame = _frame_at(ring, time, max_pixels)
    if frame is None:
        return False
    pixels = pixels_of(VideoReformatter(), frame, {"width": frame.width, "height": frame.height}, orientation)
    with whole_file(target) as partial:
        partial.write_bytes(_jpeg(pixels))
    return True


def _jpeg(pixels: Pixels) -> bytes:
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise OSError("the picture cannot be encoded")
    return encoded.tobytes()


def _frame_at(ring: PacketRing, time: float, max_pixels: int) -> Any:
    """Return the last frame that is shown at this time or before, else the first that can be decoded."""
    key = ring.key_before(time)
    group = _group(ring.since(key.number)) if key else []
    if not group:
        return None
    # by the times of packets: stamps and times do not belong together as long as a connection is new
    wanted = max((packet for packet in group if packet.time <= time + TOLERANCE), default=group[0], key=_time).pts
    shown = None
    for frame in _frames(group, max_pixels):
        if shown is not None and frame.pts is not None and frame.pts > wanted:
            break
        shown = frame
    return shown


def _time(packet: Stored) -> float:
    return packet.time


def _group(packets: list[Stored]) -> list[Stored]:
    """Return the packets of a key frame, up to the next one."""
    group = packets[:1]
    for packet in packets[1:]:
        if packet.key or packet.encoding != group[0].encoding:
            break
        group.append(packet)
    return group


def _frames(packets: list[Stored], max_pixels: int) -> Iterator[Any]:
    encoding = packets[0].encoding
    decoder = av.CodecContext.create(encoding.codec, "r")
    decoder.options = {"max_pixels": str(max_pixels)}
    decoder.thread_count = 1
    decoder.width, decoder.height, decoder.pix_fmt = encoding.width, encoding.height, encoding.pixel_format
    for stored in packets:
        packet = av.Packet(stored.data)
        packet.pts, packet.dts, packet.time_base = stored.pts, stored.dts, encoding.time_base
        try:
            yield from decoder.decode(packet)
        except av.error.FFmpegError:
            continue
    yield from decoder.decode(None)
