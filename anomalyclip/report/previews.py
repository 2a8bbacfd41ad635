"""Pictures and small copies of videos for the report."""

from collections.abc import Iterable
from pathlib import Path

import cv2

from anomalyclip.data.decoder import Decoder
from anomalyclip.data.frame_folder import Pixels, is_folder
from anomalyclip.data.video import TimedFrame
from anomalyclip.data.video_writer import video_writer

MP4_CODECS, WEBM_CODECS = {"av1", "h264", "vp9"}, {"av1", "vp8", "vp9"}
CODECS = {".m4v": ("mov", MP4_CODECS), ".mp4": ("mov", MP4_CODECS), ".webm": ("matroska", WEBM_CODECS)}
"""Suffixes that browsers take for video, each with its container and the codecs that they play in it."""
DECODERS = {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
"""Codecs of decoders whose name is not the codec's."""
PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
PREVIEW_HEIGHT, PICTURE_HEIGHT = 240, 180
"""Most pixels of a small copy's height, and of a picture's."""
JPEG_QUALITY = 80


def plays_in_browser(path: Path, decoder: Decoder) -> bool:
    """Return whether every browser plays a local video; raises DecodeError if it cannot be opened.

    None plays MPEG-4 part 2, which UCF-Crime and ShanghaiTech are, or a folder of pictures.
    """
    if is_folder(path):
        return False
    found, codec, pixel_format = decoder.encoding(path)
    container, codecs = CODECS.get(path.suffix.lower(), ("", set[str]()))
    is_known = container == found and DECODERS.get(codec, codec) in codecs
    return is_known and pixel_format in PIXEL_FORMATS


def write_preview(frames: Iterable[TimedFrame], target: Path) -> None:
    """Write an H.264 copy of small frames at the same times; the copy appears once it is whole."""
    with video_writer(target, quality=28) as writer:
        for frame in frames:
            writer.write(frame.pixels(), frame.seconds)


def key_frames(frames: Iterable[TimedFrame], frame_indices: Iterable[int]) -> dict[int, bytes]:
    """Return the JPEG of each of these frames (0-based) of a video.

    Frames past the end are left out. Frames are taken up to the last one wanted.
    """
    wanted = set(frame_indices)
    pictures = dict[int, bytes]()
    for index, frame in enumerate(frames if wanted else ()):
        if index in wanted:
            pictures[index] = _jpeg(frame.pixels())
        if len(pictures) == len(wanted):
            break
    return pictures


def _jpeg(pixels: Pixels) -> bytes:
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
