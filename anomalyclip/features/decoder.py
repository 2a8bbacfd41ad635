"""Decoding in a separate process: a codec that crashes or hangs costs one video, not the worker.

The process serves one video after another and is replaced after a crash. Frames come through shared memory,
because a pipe would cost a third of the work; it holds two batches, so that the next one is decoded while one
is encoded.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.data.frame_folder import PIXELS_VARIABLE
from anomalyclip.data.frame_ranges import (
    Borders,
    FirstLook,
    FrameRange,
    FrameTable,
    RangeReader,
    first_look,
    frame_table,
)
from anomalyclip.data.video import MAX_PIXELS, DecodeError, DecoderKilledError, VideoInfo, VideoReader
from anomalyclip.storage import scratch

SLOTS = 2
SPARE_BYTES, BYTES_PER_PIXEL = 2**30, 80
"""Memory that a decoder may take: some, and for every pixel of a frame 16 reference frames of 10 bits (48 bytes), the
frame in RGB, its copy, and a batch, which is two or more frames and lies in memory three times."""
_MEMORY = Path("/dev/shm")  # noqa: S108 (files there are made by tempfile, with a random name, for this user alone)


class _Slots(NamedTuple):
    path: str
    shape: tuple[int, ...]


class _Batch(NamedTuple):
    slot: int
    frames: int


class _LookRequest(NamedTuple):
    path: Path
    max_pixels: int


class _TableRequest(NamedTuple):
    path: Path
    spacing: int
    look: FirstLook


_Request = VideoReader | RangeReader | _LookRequest | _TableRequest
_Reply = VideoInfo | Borders | FirstLook | FrameTable | DecodeError
"""What ends a request; None ends one for a table."""
_WORKING = "working"


class Decoder:
    """A process that decodes videos, started when first needed; for one thread at a time."""

    def __init__(self, timeout: float, max_pixels: int = MAX_PIXELS) -> None:
        """Create a decoder that counts as hung after `timeout` seconds without a batch.

        `max_pixels` of a frame also bound the memory of its process.
        """
        self._timeout, self._max_pixels = timeout, max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self._info: VideoInfo | None = None
        self._borders = Borders((), ())

    @property
    def borders(self) -> Borders:
        """Checksums of the frames around the borders of the range that was decoded last."""
        return self._borders

    @property
    def info(self) -> VideoInfo:
        """Facts about the decoded video; RuntimeError until the frames are exhausted."""
        if self._info is None:
            raise RuntimeError("the number of frames is known once all of them have been read")
        return self._info

    def batches(self, path: Path, sampling_rate: int, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 RGB arrays (frames, height, width, 3); each is overwritten when the next is asked for.

        Raises DecodeError like VideoReader, and for a decoder that died or hung; DecoderKilledError if it was killed.
        """
        self._info = None
        reader = VideoReader(path, sampling_rate, batch_size, max_pixels=self._max_pixels)
        self._info = yield from self._ask(reader, self._timeout * sampling_rate)

    def range_batches(
        self, path: Path, wanted: FrameRange, sampling_rate: int, batch_size: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the batches of a range of a file like `batches`; `borders` are known at the end."""
        reader = RangeReader(path, wanted, sampling_rate, batch_size, self._max_pixels)
        skipped = (wanted.start - wanted.first) // batch_size  # no batch comes before the range
        self._borders = yield from self._ask(reader, self._timeout * (sampling_rate + skipped))

    def first_look(self, path: Path) -> FirstLook:
        """Return what a file shows without reading it; raises DecodeError like `batches`."""
        return self._reply(_LookRequest(path, self._max_pixels))

    def frame_table(self, path: Path, spacing: int, look: FirstLook) -> FrameTable | None:
        """Return the frames of a file, None if it can be decoded from its start only; raises DecodeError likewise."""
        return self._reply(_TableRequest(path, spacing, look))

    def _reply(self, request: _Request) -> Any:
        asked = self._ask(request, self._timeout)
        try:
            while True:
                next(asked)
        except StopIteration as ended:
            return ended.value

    def _ask(self, request: Any, timeout: float) -> Generator[NDArray[np.uint8], None, Any]:
        """Yield the batches that answer a request, and return its reply."""
        self.start()
        path, ended = request.path, False
        try:
            self._send(path, request)
            while not ended:
                message = self._receive(path, timeout)
                if isinstance(message, _Slots):
                    slots = np.memmap(message.path, np.uint8, "r+", shape=message.shape)
                    # both have it mapped: without a name, the memory is freed even if both are killed
                    Path(message.path).unlink()
                elif isinstance(message, _Batch):
                    yield slots[message.slot, : message.frames]
                    self._send(path, None)
                else:
                    ended = message != _WORKING
        finally:
            # stopped in the middle: what the process still sends would be taken for the next video's
            if not ended:
                self.close()
        if isinstance(message, DecodeError):
            raise message
        return message

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def start(self) -> None:
        """Start the process, if it does not run: its libraries take half a second to import."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._connection, theirs = Pipe()
        # not by multiprocessing: forking threads is unsafe, and spawning would import Ray in the decoder; not a torch
        # DataLoader: outside the main thread it notices a dead worker only after its time-out
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()", str(theirs.fileno()), str(self._max_pixels)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), PIXELS_VARIABLE: str(self._max_pixels)},
        )
        theirs.close()

    def _send(self, path: Path, message: Any) -> None:
        try:
            self._connection.send(message)
        except ConnectionError:
            raise self._death(path) from None

    def _receive(self, path: Path, timeout: float) -> Any:
        try:
            if self._connection.poll(timeout):
                return self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._death(path) from None
        raise DecodeError(f"{path}: the decoder hung: no frame for {timeout:g} s")

    def _death(self, path: Path) -> DecodeError:
        assert self._process is not None
        code = self._process.wait()
        if code == -signal.SIGKILL:  # by the kernel, when memory is short, or by a person: nothing in it does so
            return DecoderKilledError(f"{path}: the decoder was killed")
        return DecodeError(f"{path}: the decoder died ({_cause(code)})")


def main() -> None:
    """Run the decoder process; arguments are the file descriptor of its connection and the most pixels of a frame."""
    # Ctrl-C reaches the whole process group: the worker ends the decoder when it closes the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _bound_memory(int(sys.argv[2]))
    with suppress(EOFError, ConnectionError):
        _serve(Connection(int(sys.argv[1])))


def _bound_memory(max_pixels: int) -> None:
    """Let the process take no more memory than frames need, beside what its libraries have taken by now."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = taken + SPARE_BYTES + BYTES_PER_PIXEL * max_pixels
    _, highest = resource.getrlimit(resource.RLIMIT_AS)
    if highest == resource.RLIM_INFINITY or most < highest:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _serve(connection: Any) -> None:
    while True:
        request: _Request = connection.recv()
        path = request.path
        try:
            connection.send(_answer(request, connection))
        except DecodeError as error:
            connection.send(error)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            connection.send(DecodeError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"))


def _answer(request: _Request, connection: Any) -> _Reply | None:
    match request:
        case _LookRequest(path, max_pixels):
            return first_look(path, max_pixels)
        case _TableRequest(path, spacing, look):
            return frame_table(path, spacing, look, lambda: connection.send(_WORKING))
        case _:
            return _decode(request, connection)


def _decode(reader: VideoReader | RangeReader, connection: Any) -> VideoInfo | Borders:
    in_use = 0
    slots: NDArray[np.uint8] | None = None
    try:
        for number, frames in enumerate(reader):
            if slots is None:
                slots = _allocate(Path(reader.path), (SLOTS, *frames.shape), connection)
            if in_use == SLOTS:
                connection.recv()
                in_use -= 1
            slots[number % SLOTS, : len(frames)] = frames
            connection.send(_Batch(number % SLOTS, len(frames)))
            in_use += 1
    finally:
        # replies that are still to come: they would be taken for the next request
        for _ in range(in_use):
            connection.recv()
    return reader.info


def _allocate(video: Path, shape: tuple[int, ...], connection: Any) -> NDArray[np.uint8]:
    """Map memory shared with the other process, which removes the file's name."""
    size = int(np.prod(shape))
    for folder in (_MEMORY, scratch()):  # containers often have a small /dev/shm
        with suppress(OSError):
            descriptor, path = mkstemp(dir=folder, prefix="anomalyclip-frames-")
            try:
                # reserved now: a full /dev/shm would otherwise kill the process at the first write to the map
                os.posix_fallocate(descriptor, 0, size)
                slots = np.memmap(path, np.uint8, "r+", shape=shape)
                connection.send(_Slots(path, shape))
                return slots
            except OSError:
                Path(path).unlink()
                raise
            finally:
                os.close(descriptor)
    raise DecoderKilledError(f"{video}: no space for {size} bytes of its frames in {_MEMORY} or {scratch()}")


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
