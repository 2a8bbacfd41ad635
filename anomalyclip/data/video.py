"""Decoding of videos in constant memory: files with PyAV, folders of pictures with OpenCV."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anomalyclip.data.containers import ContainerError, container_of
from anomalyclip.data.frame_folder import PictureError, Pixels, frame_paths, is_folder, pictures
from anomalyclip.data.orientation import Orientation, orientation_of
from anomalyclip.data.timing import Timing, creation_time, uneven_times

UNKNOWN_TIME = -(2**63)
PACKETS_A_SIGN = 1000
"""Packets from one number of `counted_frames` to the next."""
MAX_PIXELS = 8192 * 4320
"""Most pixels of a frame, unless another number is given (`extraction.max_pixels`)."""
MAX_BATCH_BYTES = 2**28
"""Most bytes of a batch of several frames."""


class DecodeError(Exception):
    """A video that cannot be read to its end; the message is one line and names the frame reached."""


class DecoderKilledError(DecodeError):
    """A decoder that was killed from outside or found no space: no fault of the video."""


class VideoInfo(NamedTuple):
    """Frames (all, not only kept ones), frames per second (0 if unknown), whether they were rotated for display, and
    their times if these are not even.
    """

    num_frames: int
    fps: float
    rotated: bool = False
    timing: Timing | None = None


def probe(path: str | PathLike[str]) -> int:
    """Return the number of frames of a local video, a file or a folder of pictures, without decoding it.

    It is an estimate: the container's number, or the number of packets if it has none. Raises DecodeError if the video
    cannot be opened or its end is missing (`containers.py`).
    """
    *_, frames = counted_frames(path)
    return frames


def counted_frames(path: str | PathLike[str]) -> Iterator[int]:
    """Yield how many frames of a local video are known so far, now and then; the last is what `probe` returns."""
    if is_folder(path):
        with errors_of(path, [0]):
            next(pictures(path))()
            yield len(frame_paths(path))
        return
    with errors_of(path, reached := [0]), open_video(path) as container:
        stream = video_stream(container)
        if not stream.frames:
            for packet in container.demux(stream):
                reached[0] += packet.size > 0
                if reached[0] % PACKETS_A_SIGN == 0:
                    yield reached[0]
        yield stream.frames or reached[0]


def is_rotated(path: str | PathLike[str]) -> bool:
    """Return whether a local video is displayed rotated or mirrored, by its first frame; raises DecodeError."""
    if is_folder(path):
        return False
    with errors_of(path, [0]), open_video(path) as container:
        first, _ = first_frame(container, video_stream(container))
        return any(orientation_of(first))


def encoding(path: str | PathLike[str]) -> tuple[str, str, str]:
    """Return a local video's container (FFmpeg's name), codec and pixel format; raises DecodeError."""
    with errors_of(path, [0]), open_video(path) as container:
        context = video_stream(container).codec_context
        return str(container.format.name), str(context.name), str(context.pix_fmt)


class VideoReader:
    """Frames 0, r, 2r, … of a local video (r the sampling rate) as batches, decoded when they are asked for.

    A video is a file, or a folder of pictures of one size: a frame each, in natural order of their names.

    Iterating yields uint8 RGB arrays `(frames, height, width, 3)`, each its own memory, as players display them
    (size and orientation are the first frame's), of at most `batch_size` frames and `max_batch_bytes` bytes but at
    least one frame. DecodeError ends the iteration of a video that is damaged, empty or has no video stream: the
    batches before it must be dropped, and of one with frames of more than `max_pixels`, before any is decoded (pictures
    have OpenCV's own bound). Iterating again starts from the first frame.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        sampling_rate: int = 1,
        batch_size: int = 64,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if sampling_rate < 1 or batch_size < 1:
            raise ValueError(f"sampling_rate {sampling_rate} and batch_size {batch_size} must be at least 1")
        self.path = path
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.max_batch_bytes = max_batch_bytes
        self.max_pixels = max_pixels
        self._info: VideoInfo | None = None

    @property
    def info(self) -> VideoInfo:
        """Facts about the decoded video; RuntimeError until the frames are exhausted."""
        if self._info is None:
            raise RuntimeError("the number of frames is known once all of them have been read")
        return self._info

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self._info = None
        sizes = self.sampling_rate, self.batch_size, self.max_batch_bytes
        with errors_of(self.path, reached := [0]):
            if is_folder(self.path):
                yield from filled_batches(pictures(self.path), reached, *sizes)
                self._info = VideoInfo(reached[0], 0.0)
                return
            with open_video(self.path) as container:
                stream = video_stream(container)
                bound_pixels(container, stream, self.max_pixels)
                first, frames = first_frame(container, stream)
                orientation = orientation_of(first)
                stamps = array("q")
                yield from filled_batches(_decoded(frames, orientation, stamps), reached, *sizes)
                fps = float(stream.average_rate or stream.guessed_rate or 0)
                self._info = VideoInfo(reached[0], fps, any(orientation), timing_of(container, stream, stamps, fps))


def filled_batches(
    frames: Iterator[Callable[[], Pixels]], reached: list[int], sampling_rate: int, batch_size: int, max_bytes: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames to keep as batches; `reached` has the number of the next frame, and counts."""
    size = filled = 0
    for frame in frames:
        if reached[0] % sampling_rate == 0:
            pixels = frame()
            size = size or batch_frames(pixels.size, batch_size, max_bytes)
            if filled == 0:
                batch = np.empty((size, *pixels.shape), dtype=np.uint8)
            batch[filled] = pixels
            filled += 1
        reached[0] += 1
        if filled == size:
            yield batch
            filled = 0
    if filled:
        yield batch[:filled]


def batch_frames(frame_bytes: int, batch_size: int, max_bytes: int = MAX_BATCH_BYTES) -> int:
    """Return the frames of a batch, of so many bytes each in RGB."""
    return min(batch_size, max(1, max_bytes // frame_bytes))


class TimedFrame(NamedTuple):
    """A frame: seconds from the first one's, rising, and the function that gives its pixels (height, width, 3)."""

    seconds: float
    pixels: Callable[[], Pixels]


def timed_frames(
    path: str | PathLike[str], fps: float = 25.0, height: int | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[TimedFrame]:
    """Yield the frames of a local video as `VideoReader` shows them, with their times, one at a time.

    `fps` is the rate of a video that states no times: a folder of pictures. Frames higher than `height` are scaled down
    to it; only those whose pixels are asked for are converted. Raises DecodeError, also for frames of more than
    `max_pixels`.
    """
    with errors_of(path, reached := [0]):
        if is_folder(path):
            for read in pictures(path):
                yield TimedFrame(reached[0] / fps, partial(_scaled_picture, read, height))
                reached[0] += 1
            return
        with open_video(path) as container:
            stream = video_stream(container)
            bound_pixels(container, stream, max_pixels)
            rate = float(stream.average_rate or stream.guessed_rate or fps)
            first, frames = first_frame(container, stream)
            orientation = orientation_of(first)
            size = scaled_size(first.width, first.height, height, orientation.quarter_turns % 2 == 1)
            reformatter = VideoReformatter()
            seconds = -1 / rate
            for frame in frames:
                known = frame.time is not None and first.time is not None
                seconds = max(seconds + 1e-3, frame.time - first.time) if known else seconds + 1 / rate
                yield TimedFrame(seconds, partial(pixels_of, reformatter, frame, size, orientation))
                reached[0] += 1


def scaled_size(width: int, height: int, most: int | None, turned: bool = False) -> dict[str, int]:
    """Return the width and height that a frame is scaled to, so that it is displayed at most `most` pixels high."""
    shown = width if turned else height
    scale = min(1.0, most / shown) if most else 1.0
    return {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}


def _scaled_picture(read: Callable[[], Pixels], height: int | None) -> Pixels:
    pixels = read()
    size = scaled_size(pixels.shape[1], pixels.shape[0], height)
    return np.asarray(cv2.resize(pixels, (size["width"], size["height"]), interpolation=cv2.INTER_AREA), np.uint8)


def bound_pixels(container: Any, stream: Any, most: int) -> None:
    """Refuse frames of more pixels: here by what the container says, later in the decoder by what they are."""
    if stream.width * stream.height > most:
        raise DecodeError(
            f"{name_of(container)}: frames of {stream.width} x {stream.height} pixels, more than "
            f"extraction.max_pixels={most}"
        )
    stream.codec_context.options = {"max_pixels": str(most)}


def prepare_decoder(stream: Any) -> None:
    """Set what the decoder of a stream is to do, before its first frame."""
    # more threads were slower than one
    stream.codec_context.thread_count = 1
    stream.thread_type = "NONE"
    if stream.codec_context.name == "mjpeg":  # the only decoder that hides damage; others mark the frames
        stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}


def first_frame(container: Any, stream: Any) -> tuple[Any, Iterator[Any]]:
    """Return a stream's first frame, and the iterator of all its frames; raises DecodeError if it has none."""
    prepare_decoder(stream)
    frames = _frames(container, stream)
    if (first := next(frames, None)) is None:
        raise DecodeError(f"{name_of(container)}: the video stream holds no frames")
    return first, chain([first], frames)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames of a stream; raises DecodeError for one that is damaged, and for fewer than are promised."""
    frames = packets = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        for frame in packet.decode():
            if frame.is_corrupt:
                raise DecodeError(f"{name_of(container)}: damaged data at frame {frames}")
            yield frame
            frames += 1
    # packets, not frames: edits of mp4 hide frames, and some codecs have packets without a frame of their own
    if packets < stream.frames:
        raise DecodeError(f"{name_of(container)}: {packets} frames, while the file says {stream.frames}")


def timing_of(container: Any, stream: Any, stamps: "array[int]", fps: float) -> Timing | None:
    """Return the times of frames with these stamps and the time of day, None if neither tells anything."""
    times = None
    if UNKNOWN_TIME not in stamps:
        times = uneven_times(np.asarray(stamps, dtype=np.int64), float(stream.time_base), fps)
    started = creation_time(stream.metadata.get("creation_time") or container.metadata.get("creation_time"))
    return None if times is None and started is None else Timing(times, started)


def _decoded(frames: Iterator[Any], orientation: Orientation, stamps: "array[int]") -> Iterator[Callable[[], Pixels]]:
    """Yield a function per frame that gives its pixels in the first's size: a frame left out is not converted.

    `stamps` receives the presentation time of each frame.
    """
    # one for all frames keeps its scaling tables, three times faster than frame.to_ndarray
    reformatter = VideoReformatter()
    size = dict[str, int]()
    for frame in frames:
        size = size or {"width": frame.width, "height": frame.height}
        stamps.append(UNKNOWN_TIME if frame.pts is None else frame.pts)
        yield partial(pixels_of, reformatter, frame, size, orientation)


def pixels_of(reformatter: Any, frame: Any, size: dict[str, int], orientation: Orientation) -> Pixels:
    """View of a frame in RGB, (height, width, 3), without the padding of its lines."""
    rgb = reformatter.reformat(frame, format="rgb24", **size)
    lines = np.frombuffer(rgb.planes[0], np.uint8).reshape(rgb.height, rgb.planes[0].line_size)
    return orientation.apply(lines[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3))


def open_video(path: str | PathLike[str]) -> Any:
    """Open a file as the container that it is; raises ContainerError, and what FFmpeg raises."""
    container = container_of(Path(path)).format
    # neither FFmpeg's own guess nor what a stream inside calls itself may open other files or addresses
    only = {"format_whitelist": container, "protocol_whitelist": "file"}
    # `file:` keeps a name with a colon from being taken for a protocol; broken tags are no reason to fail
    return av.open(f"file:{Path(path)}", format=container, container_options=only, metadata_errors="replace")


def video_stream(container: Any) -> Any:
    """Return the video stream of a container; raises DecodeError if it has none that can be decoded."""
    stream = container.streams.best("video")
    if stream is None:
        raise DecodeError(f"{name_of(container)}: no video stream")
    if stream.codec_context is None:
        raise DecodeError(f"{name_of(container)}: its codec is unknown")
    return stream


def name_of(container: Any) -> str:
    """Return the path of a container's file."""
    return str(container.name).removeprefix("file:")


@contextmanager
def errors_of(path: str | PathLike[str], reached: list[int]) -> Iterator[None]:
    """Raise what the decoder raises as a DecodeError that names the frame reached."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise DecodeError(f"{path}: {error.strerror} at frame {reached[0]}") from error
    except ContainerError as error:
        raise DecodeError(f"{path}: {error}") from error
    except PictureError as error:
        raise DecodeError(f"{error}, at frame {reached[0]}") from error
