"""Decoding of videos in constant memory: files with PyAV, folders of pictures with OpenCV."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anomalyclip.data.frame_folder import PictureError, Pixels, frame_paths, is_folder, pictures

# they name other files, which a path below an allowed folder must not reach
PLAYLISTS = {"concat", "dash", "hls"}


class DecodeError(Exception):
    """A video that cannot be read to its end; the message is one line and names the frame reached."""


class VideoInfo(NamedTuple):
    """Frames (all, not only kept ones), frames per second (0 where unknown), height and width in pixels."""

    num_frames: int
    fps: float
    height: int
    width: int


def probe(path: str | PathLike[str]) -> VideoInfo:
    """Look at a local video, a file or a folder of pictures; DecodeError when it cannot be opened or its tail is gone.

    The number of frames is an estimate: the container's, or the number of packets where it has none. A tail that is
    gone is noticed by the index of mp4 and mov, the header of avi; other formats merely hold fewer packets.
    """
    if is_folder(path):
        with _errors_of(path, [0]):
            height, width, _ = next(pictures(path))().shape
            return VideoInfo(len(frame_paths(path)), 0.0, height, width)
    with _errors_of(path, reached := [0]), _open(path) as container:
        stream = _video_stream(container)
        _check_whole(Path(path), stream)
        num_frames = stream.frames
        if not num_frames:
            for packet in container.demux(stream):
                reached[0] += packet.size > 0
            num_frames = reached[0]
        return VideoInfo(num_frames, _fps(stream), stream.height, stream.width)


class VideoReader:
    """Frames 0, r, 2r, … of a local video (r the sampling rate) as batches, decoded as they are asked for.

    A video is a file, or a folder of pictures of one size: a frame each, in natural order of their names.

    Iterating yields uint8 RGB arrays `(frames, height, width, 3)`, each its own memory, at native resolution
    (that of the first frame), of at most `batch_size` frames and `max_batch_bytes` bytes but at least one
    frame. DecodeError ends the iteration of a video that is damaged, empty or has no video stream: what came
    before is to be dropped. Iterating again starts anew.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        sampling_rate: int = 1,
        batch_size: int = 64,
        max_batch_bytes: int = 2**28,
    ) -> None:
        if sampling_rate < 1 or batch_size < 1:
            raise ValueError(f"sampling_rate {sampling_rate} and batch_size {batch_size} must be at least 1")
        self.path = path
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.max_batch_bytes = max_batch_bytes
        self._info: VideoInfo | None = None

    @property
    def info(self) -> VideoInfo:
        """What was decoded; RuntimeError until the frames are exhausted."""
        if self._info is None:
            raise RuntimeError("the number of frames is known once all of them have been read")
        return self._info

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self._info = None
        with _errors_of(self.path, reached := [0]):
            if is_folder(self.path):
                yield from self._batches(pictures(self.path), 0.0, reached)
                return
            with _open(self.path) as container:
                stream = _video_stream(container)
                # more threads were slower than one
                stream.codec_context.thread_count = 1
                stream.thread_type = "NONE"
                yield from self._batches(_decoded(container, stream), _fps(stream), reached)

    def _batches(
        self, frames: Iterator[Callable[[], Pixels]], fps: float, reached: list[int]
    ) -> Iterator[NDArray[np.uint8]]:
        height = width = filled = 0
        for frame in frames:
            if reached[0] % self.sampling_rate == 0:
                pixels = frame()
                if reached[0] == 0:
                    height, width, _ = pixels.shape
                    size = min(self.batch_size, max(1, self.max_batch_bytes // (height * width * 3)))
                if filled == 0:
                    batch = np.empty((size, height, width, 3), dtype=np.uint8)
                batch[filled] = pixels
                filled += 1
            reached[0] += 1
            if filled == size:
                yield batch
                filled = 0
        if reached[0] == 0:
            raise DecodeError(f"{self.path}: the video stream holds no frames")
        if filled:
            yield batch[:filled]
        self._info = VideoInfo(reached[0], fps, height, width)


def _decoded(container: Any, stream: Any) -> Iterator[Callable[[], Pixels]]:
    """Yield a function a frame that gives its pixels in the first's size: a frame left out is not converted."""
    # one for all frames keeps its scaling tables, three times faster than frame.to_ndarray
    reformatter = VideoReformatter()
    size = dict[str, int]()
    for frame in container.decode(stream):
        size = size or {"width": frame.width, "height": frame.height}
        yield partial(_pixels, reformatter, frame, size)


def _pixels(reformatter: Any, frame: Any, size: dict[str, int]) -> Pixels:
    """View of a frame in RGB, (height, width, 3), without the padding of its lines."""
    rgb = reformatter.reformat(frame, format="rgb24", **size)
    lines = np.frombuffer(rgb.planes[0], np.uint8).reshape(rgb.height, rgb.planes[0].line_size)
    return lines[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)


def _open(path: str | PathLike[str]) -> Any:
    # `file:` keeps a name with a colon from being taken for a protocol; broken tags are no reason to fail
    return av.open(f"file:{Path(path)}", metadata_errors="replace")


def _video_stream(container: Any) -> Any:
    if PLAYLISTS & set(container.format.name.split(",")):
        raise DecodeError(f"{container.name.removeprefix('file:')}: a playlist, not a video")
    stream = container.streams.best("video")
    if stream is None:
        raise DecodeError(f"{container.name.removeprefix('file:')}: no video stream")
    return stream


def _check_whole(path: Path, stream: Any) -> None:
    """Raise DecodeError where a file ends before the bytes that its own index or header speaks of."""
    size = path.stat().st_size
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":  # its index stands at the end and is the first to go
        end = max(end, 8 + int.from_bytes(head[4:8], "little"))
    if end > size:
        raise DecodeError(f"{path}: cut off: it has {size} bytes and speaks of {end}")


def _fps(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


@contextmanager
def _errors_of(path: str | PathLike[str], reached: list[int]) -> Iterator[None]:
    """Turn whatever the decoder raises into a DecodeError that names the frame reached."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise DecodeError(f"{path}: {error.strerror} at frame {reached[0]}") from error
    except PictureError as error:
        raise DecodeError(f"{error}, at frame {reached[0]}") from error
