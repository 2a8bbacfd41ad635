"""The process that reads videos for a `Decoder`: what it does there, and the words that both exchange."""

import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from mmap import mmap
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anomalyclip.data.frame_folder import PictureError, Pixels, read_picture
from anomalyclip.data.frame_ranges import (
    Borders,
    FirstLook,
    FrameRange,
    FrameTable,
    RangeReader,
    first_look,
    frame_table,
)
from anomalyclip.data.video import DecodeError, DecoderKilledError, VideoInfo, VideoReader, timed_frames

SLOTS = 2
SPARE_BYTES, BYTES_PER_PIXEL = 2**30, 80
"""Memory that the process may take: some, and for every pixel of a frame 16 reference frames of 10 bits (48 bytes), the
frame in RGB, its copy, and a batch, which is two or more frames and lies in memory three times."""
NEXT, PIXELS, STOP = "next", "pixels", "stop"
"""What may be asked of a single frame."""


class Request(NamedTuple):
    """Work for the process: a function of this module, the file, and further arguments."""

    work: Callable[..., Any]
    path: Path
    arguments: tuple[Any, ...] = ()


class Step(NamedTuple):
    """A sign of life, and what is known so far."""

    value: Any


class Slots(NamedTuple):
    """New shared memory for uint8 arrays; its file descriptor follows."""

    shape: tuple[int, ...]


class Batch(NamedTuple):
    """Frames in a slot; they are kept until anything is replied."""

    slot: int
    frames: int


class Frame(NamedTuple):
    """A frame was decoded; NEXT, PIXELS or STOP is the reply, and None follows pixels in slot 0."""

    seconds: float


class End(NamedTuple):
    """The request is done; DecodeError stands for one that failed."""

    value: Any


class Caller(NamedTuple):
    """Who asked, and what he allows."""

    connection: Any
    max_pixels: int

    def share(self, path: Path, shape: tuple[int, ...]) -> Pixels:
        """Return memory that both processes see; raises DecoderKilledError if there is none."""
        size = int(np.prod(shape))
        # without a name nothing is left behind, and the size of /dev/shm, which containers keep small, does not count
        descriptor = os.memfd_create("frames")
        try:
            # reserved now: short memory would otherwise kill the process at the first write to the map
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap(descriptor, size)
            self.connection.send(Slots(shape))
            send_handle(self.connection, descriptor, os.getppid())
        except ConnectionError:
            raise
        except OSError:
            raise DecoderKilledError(f"{path}: no memory for {size} bytes of its frames") from None
        finally:
            os.close(descriptor)
        return np.frombuffer(memory, np.uint8).reshape(shape)


def main() -> None:
    """Serve requests; arguments are the file descriptor of the connection and the most pixels of a frame."""
    # Ctrl-C reaches the whole process group: the worker ends the decoder when it closes the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    caller = Caller(Connection(int(sys.argv[1])), int(sys.argv[2]))
    threading.Thread(target=_end_with, args=(caller.connection.fileno(),), daemon=True).start()
    bound_memory(caller.max_pixels)
    with suppress(EOFError, ConnectionError):
        while True:
            _serve(caller, *caller.connection.recv())


def send_batches(caller: Caller, path: Path, sampling_rate: int, batch_size: int) -> VideoInfo:
    """Send frames as a VideoReader gives them, a batch ahead of the replies."""
    reader = VideoReader(path, sampling_rate, batch_size, max_pixels=caller.max_pixels)
    _send(caller, path, reader)
    return reader.info


def send_range(caller: Caller, path: Path, wanted: FrameRange, sampling_rate: int, batch_size: int) -> Borders:
    """Send the frames of a range as a RangeReader gives them, a batch ahead of the replies."""
    reader = RangeReader(path, wanted, sampling_rate, batch_size, caller.max_pixels)
    _send(caller, path, reader)
    return reader.info


def look(caller: Caller, path: Path) -> FirstLook:
    """Return what a file shows without reading it; raises DecodeError."""
    return first_look(path, caller.max_pixels)


def table(caller: Caller, path: Path, spacing: int, seen: FirstLook) -> FrameTable | None:
    """Return the frames of a file, with signs of life; raises DecodeError."""
    return frame_table(path, spacing, seen, lambda: caller.connection.send(Step(None)))


def _send(caller: Caller, path: Path, reader: Iterable[Pixels]) -> None:
    in_use = 0
    slots: Pixels | None = None
    try:
        for number, frames in enumerate(reader):
            if slots is None:
                slots = caller.share(path, (SLOTS, *frames.shape))
            if in_use == SLOTS:
                caller.connection.recv()
                in_use -= 1
            slots[number % SLOTS, : len(frames)] = frames
            caller.connection.send(Batch(number % SLOTS, len(frames)))
            in_use += 1
    finally:
        # replies that are still to come: they would be taken for the next request
        for _ in range(in_use):
            caller.connection.recv()


def send_frames(caller: Caller, path: Path, fps: float, height: int | None) -> None:
    """Send each frame's time and wait; only pixels that are asked for are converted and sent."""
    slots: Pixels | None = None
    for frame in timed_frames(path, fps, height, caller.max_pixels):
        caller.connection.send(Frame(frame.seconds))
        while (reply := caller.connection.recv()) == PIXELS:
            pixels = frame.pixels()
            if slots is None:
                slots = caller.share(path, (1, *pixels.shape))
            slots[0] = pixels
            caller.connection.send(Batch(0, 1))
        if reply == STOP:
            return


def answer(caller: Caller, path: Path, function: Callable[[Path], Any]) -> Any:
    """Return what a function says of a file; of an iterator the last item, each is a sign of life."""
    said = function(path)
    if not isinstance(said, Iterator):
        return said
    for latest in said:
        caller.connection.send(Step(latest))
    return latest


def has_marks(picture: Path) -> bool:
    """Return whether a picture has a pixel that is not zero; raises DecodeError."""
    try:
        return bool(read_picture(picture).any())
    except PictureError as error:
        raise DecodeError(str(error)) from None


def _serve(caller: Caller, work: Callable[..., Any], path: Path, arguments: tuple[Any, ...]) -> None:
    try:
        caller.connection.send(End(work(caller, path, *arguments)))
    except DecodeError as error:
        caller.connection.send(error)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:
        caller.connection.send(DecodeError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"))


def _end_with(connection: int) -> None:
    """End this process when the caller's end is closed: beside a killed one, a codec that hangs would live on."""
    hung_up = select.poll()
    hung_up.register(connection, 0)
    hung_up.poll()
    os._exit(1)


def bound_memory(max_pixels: int) -> None:
    """Let the process take no more memory than frames need, beside what its libraries have taken by now."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = taken + SPARE_BYTES + BYTES_PER_PIXEL * max_pixels
    _, highest = resource.getrlimit(resource.RLIMIT_AS)
    if highest == resource.RLIM_INFINITY or most < highest:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
