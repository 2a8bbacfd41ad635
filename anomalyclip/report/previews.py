"""Pictures and small copies of videos for the report."""

from collections.abc import Iterable
from pathlib import Path

import cv2

from anomalyclip.data.frame_folder import Pixels, is_folder
from anomalyclip.data.video import encoding, timed_frames
from anomalyclip.data.video_writer import video_writer

MP4_CODECS, WEBM_CODECS = {"av1", "h264", "vp9"}, {"av1", "vp8", "vp9"}
CODECS = {".m4v": ("mov", MP4_CODECS), ".mp4": ("mov", MP4_CODECS), ".webm": ("matroska", WEBM_CODECS)}
"""Suffixes that browsers take for video, each with its container and the codecs that they play in it."""
DECODERS = {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
"""Codecs of decoders whose name is not the codec's."""
PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
JPEG_QUALITY = 80


def plays_in_browser(path: Path) -> bool:
    """Return whether every browser plays a local video; raises DecodeError if it cannot be opened.

    None plays MPEG-4 part 2, which UCF-Crime and ShanghaiTech are, or a folder of pictures.
    """
    if is_folder(path):
        return False
    found, decoder, pixel_format = encoding(path)
    container, codecs = CODECS.get(path.suffix.lower(), ("", set[str]()))
    is_known = container == found and DECODERS.get(decoder, decoder) in codecs
    return is_known and pixel_format in PIXEL_FORMATS


def write_preview(source: Path, target: Path, height: int = 240, fps: float = 25.0) -> None:
    """Write an H.264 copy of a local video at most `height` pixels high, with the same frames at the same times.

    `fps` is the rate of a folder of pictures. Raises DecodeError; the copy appears once it is whole.
    """
    with video_writer(target, quality=28) as writer:
        for frame in timed_frames(source, fps, height):
            writer.write(frame.pixels(), frame.seconds)


def key_frames(source: Path, frame_indices: Iterable[int], height: int = 180) -> dict[int, bytes]:
    """Return the JPEG of each of these frames (0-based) of a local video, at most `height` pixels high.

    Frames past the end are left out. The video is decoded once, up to the last frame wanted; raises DecodeError.
    """
    wanted = set(frame_indices)
    pictures = dict[int, bytes]()
    for index, frame in enumerate(timed_frames(source, height=height) if wanted else ()):
        if index in wanted:
            pictures[index] = _jpeg(frame.pixels())
        if len(pictures) == len(wanted):
            break
    return pictures


def _jpeg(pixels: Pixels) -> bytes:
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
