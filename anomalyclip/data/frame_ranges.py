"""Ranges of a long video's frames: each is decoded by itself, from a key frame before it.

A frame's number is its place in the order of presentation. The packets tell it without decoding; while a range is
decoded, every frame must have the time that the packets give to its number. What a codec carries from before the key
frame shows at the borders: frames around each are decoded by both sides, and `Borders` compares their pixels.
"""

import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anomalyclip.data.frame_folder import Pixels
from anomalyclip.data.orientation import Orientation, orientation_of
from anomalyclip.data.video import (
    MAX_BATCH_BYTES,
    MAX_PIXELS,
    PACKETS_A_SIGN,
    DecodeError,
    VideoInfo,
    bound_pixels,
    errors_of,
    filled_batches,
    first_frame,
    name_of,
    open_video,
    pixels_of,
    prepare_decoder,
    timing_of,
    video_stream,
)

BEFORE, AFTER = 32, 16
"""Frames before and after a border that both sides decode: codecs refer to at most 16 frames."""
SEEKS = 4
"""Key frames, each one earlier, that are tried before a place counts as not found."""


class FirstLook(NamedTuple):
    """What a file shows without reading it: its first frame, and what its container says."""

    width: int
    height: int
    orientation: Orientation
    frames: int
    """An estimate; 0 if the container says nothing."""


@dataclass(frozen=True, eq=False)
class FrameTable:
    """All frames of a video that can be decoded from several places."""

    stamps: NDArray[np.int64]
    """Presentation times of its frames, rising, in the units of its stream."""
    keys: NDArray[np.int64]
    """Numbers of its key frames, rising."""
    look: FirstLook
    info: VideoInfo

    def range(self, number: int, spacing: int) -> "FrameRange | None":
        """Return a range of `spacing` frames, fewer for the last one; None if no key frame is near enough before."""
        start, stop = number * spacing, min((number + 1) * spacing, len(self.stamps))
        usable = self.keys[self.keys <= max(0, start - BEFORE)][-SEEKS:]
        if start == 0 or usable.size == 0:
            usable = np.zeros(1, np.int64)
        if start - usable[-1] > max(spacing, 2 * BEFORE):  # more frames before the range than in it
            return None
        first = int(usable[0])
        stamps = self.stamps[first : stop + AFTER]
        return FrameRange(start, stop, first, stamps, usable, stop == len(self.stamps), self.look)


@dataclass(frozen=True, eq=False)
class FrameRange:
    """Frames `start` to `stop` - 1 of a video, and how to reach them."""

    start: int
    stop: int
    first: int
    """Number of the frame of the first of `stamps`."""
    stamps: NDArray[np.int64]
    keys: NDArray[np.int64]
    """Numbers of key frames to begin at, rising; later ones are nearer."""
    last: bool
    """Whether the video ends with it."""
    look: FirstLook


class Borders(NamedTuple):
    """Checksums of the pixels around the start and the end of a range, of those that there are."""

    head: tuple[int, ...]
    tail: tuple[int, ...]


def first_look(path: str | PathLike[str], max_pixels: int = MAX_PIXELS) -> FirstLook:
    """Return what a local file shows without reading it; raises DecodeError."""
    with errors_of(path, [0]), open_video(path) as container:
        stream = video_stream(container)
        bound_pixels(container, stream, max_pixels)
        frames = stream.frames or round(_seconds(container, stream) * float(stream.average_rate or 0))
        first, _ = first_frame(container, stream)
        return FirstLook(first.width, first.height, orientation_of(first), frames)


def frame_table(
    path: str | PathLike[str], spacing: int, look: FirstLook, working: Callable[[], object] = lambda: None
) -> FrameTable | None:
    """Return the frames of a local file by its packets, of which none is decoded; `working` is called as it goes on.

    None if they do not tell each frame's time, or if the container does not find its key frames before every
    `spacing`-th frame: it can then be decoded from its start only. Raises DecodeError.
    """
    with errors_of(path, [0]), open_video(path) as container:
        stream = video_stream(container)
        times = _packet_times(container, stream, working)
        if times is None:
            return None
        stamps, keys = np.asarray(times[0], np.int64), np.asarray(times[1], np.int64)
        stamps.sort()
        if len(stamps) < 2 or not (np.diff(stamps) > 0).all():
            return None
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        info = VideoInfo(len(stamps), fps, any(look.orientation), timing_of(container, stream, array("q", stamps), fps))
        table = FrameTable(stamps, np.searchsorted(stamps, np.sort(keys)), look, info)
        for number in range(1, -(-len(stamps) // spacing)):
            wanted = table.range(number, spacing)
            if wanted is None or _seek(container, stream, wanted) is None:
                return None
            working()
        return table


class RangeReader:
    """The frames of a range that `VideoReader` would keep, as the same batches, provided that the range starts with
    the first frame of one.

    DecodeError ends the iteration of a range that is damaged, or whose frames are not those that the packets promise.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        wanted: FrameRange,
        sampling_rate: int = 1,
        batch_size: int = 64,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.path = path
        self.wanted = wanted
        self._sizes = sampling_rate, batch_size, MAX_BATCH_BYTES
        self._max_pixels = max_pixels
        self._head, self._tail = list[int](), list[int]()

    @property
    def info(self) -> Borders:
        """Checksums of the frames around the range's borders, once all frames have been read."""
        return Borders(tuple(self._head), tuple(self._tail))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self._head, self._tail = [], []
        with errors_of(self.path, reached := [self.wanted.start]), open_video(self.path) as container:
            stream = video_stream(container)
            bound_pixels(container, stream, self._max_pixels)
            prepare_decoder(stream)
            frames = _numbered(container, stream, self.wanted)
            yield from filled_batches(self._inside(frames), reached, *self._sizes)

    def _inside(self, frames: Iterator[tuple[int, Any]]) -> Iterator[Callable[[], Pixels]]:
        wanted, reformatter = self.wanted, VideoReformatter()
        size = {"width": wanted.look.width, "height": wanted.look.height}
        for number, frame in frames:
            pixels = partial(pixels_of, reformatter, frame, size, wanted.look.orientation)
            for border, sums in ((wanted.start, self._head), (wanted.stop, self._tail)):
                if border - BEFORE <= number < border + AFTER:
                    sums.append(zlib.crc32(np.ascontiguousarray(pixels()).data))
            if wanted.start <= number < wanted.stop:
                yield pixels


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _packet_times(container: Any, stream: Any, working: Callable[[], object]) -> "tuple[array[int], array[int]] | None":
    """Return the presentation times of all frames and of key frames; None if packets do not tell them."""
    stamps, keys, packets = array("q"), array("q"), 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        if packets % PACKETS_A_SIGN == 0:
            working()
        if packet.size == 0 or packet.is_discard:  # edits of mp4 hide frames
            continue
        if packet.pts is None or packet.is_corrupt:
            return None
        stamps.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    return None if packets < stream.frames else (stamps, keys)


def _seek(container: Any, stream: Any, wanted: FrameRange) -> tuple[int, Iterator[Any]] | None:
    """Return the number of a key frame to begin at and the packets from it on; None if none is found."""
    places = {int(wanted.stamps[key - wanted.first]): int(key) for key in wanted.keys}
    for stamp in reversed(places):
        container.seek(stamp, stream=stream)
        packets = container.demux(stream)
        for packet in packets:
            if packet.is_keyframe and packet.pts is not None and packet.pts >= wanted.stamps[0]:
                if packet.pts in places:
                    return places[packet.pts], chain([packet], packets)
                break  # behind what is wanted
    return None


def _numbered(container: Any, stream: Any, wanted: FrameRange) -> Iterator[tuple[int, Any]]:
    """Yield frames with their numbers, from a key frame before a range to a few behind it; raises DecodeError."""
    number, packets = 0, container.demux(stream)
    if wanted.keys[-1] > 0:
        if (found := _seek(container, stream, wanted)) is None:
            raise DecodeError(f"{name_of(container)}: no key frame is found before frame {wanted.start}")
        number, packets = found
    begin, end = number, wanted.first + len(wanted.stamps)
    for packet in packets:
        for frame in packet.decode():
            if begin > 0 and frame.pts is not None and frame.pts < wanted.stamps[begin - wanted.first]:
                continue  # shown before the key frame, it may refer to what was not decoded
            if number == end and not wanted.last:
                return
            if frame.is_corrupt:
                raise DecodeError(f"{name_of(container)}: damaged data at frame {number}")
            if number == end or frame.pts != wanted.stamps[number - wanted.first]:
                raise DecodeError(f"{name_of(container)}: another frame {number} than its packets promise")
            yield number, frame
            number += 1
    if number < end:
        raise DecodeError(f"{name_of(container)}: {number} frames, while its packets promise {end}")
