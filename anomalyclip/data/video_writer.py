"""Writing of H.264 videos that every browser plays, with the times of their frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from anomalyclip.data.frame_folder import Pixels
from anomalyclip.storage import whole_file

TICKS = 90_000
"""Units of time per second, as mp4 players use them."""
USUAL_RATE = 25
"""Frames per second of a video of a single frame."""
KEY_FRAMES = 50
"""Frames from one key frame to the next: a player that jumps decodes at most so many."""


class VideoWriter:
    """Encoder of one video; `video_writer` makes it."""

    def __init__(self, container: Any, quality: int) -> None:
        self._container = container
        self._quality = quality
        self._stream: Any = None
        self._reformatter = VideoReformatter()
        self._last: int | None = None
        self._duration = TICKS // USUAL_RATE

    def write(self, pixels: Pixels, seconds: float) -> None:
        """Append a frame, uint8 RGB (height, width, 3), that is shown from `seconds` on; times must rise."""
        stream = self._stream = self._stream or self._add_stream(*pixels.shape[:2])
        time = round(seconds * TICKS)
        if self._last is not None:
            self._duration = time - self._last
            if self._duration < 1:
                raise ValueError(f"frame at {seconds:g} s is not after the one before it")
        self._last = time
        size = {"width": stream.width, "height": stream.height}
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = self._reformatter.reformat(frame, format="yuv420p", threads=1, **size)
        frame.pts, frame.time_base = time, Fraction(1, TICKS)
        self._container.mux(stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds; the last frame lasts as long as the one before. ValueError if empty."""
        if self._stream is None:
            raise ValueError("a video must have a frame")
        packets = self._stream.encode()
        for packet in packets:
            if packet.pts == self._last:
                packet.duration = self._duration
        self._container.mux(packets)

    def _add_stream(self, height: int, width: int) -> Any:
        options = {"preset": "veryfast", "crf": str(self._quality)}
        stream = self._container.add_stream("libx264", rate=USUAL_RATE, options=options)
        # its colours are stored at half the size: sides must be even
        stream.width, stream.height, stream.pix_fmt = max(2, width & ~1), max(2, height & ~1), "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.gop_size = KEY_FRAMES
        return stream


@contextmanager
def video_writer(path: Path, quality: int = 23) -> Iterator[VideoWriter]:
    """Yield the writer of an mp4 file (H.264, yuv420p, index in front), which appears once it is whole.

    `quality` is x264's constant rate factor: 18 looks like the source, 28 is small. Odd sides
    lose one pixel.
    """
    options = {"movflags": "faststart"}
    with whole_file(path) as partial, av.open(f"file:{partial}", "w", format="mp4", options=options) as container:
        writer = VideoWriter(container, quality)
        yield writer
        writer.finish()
