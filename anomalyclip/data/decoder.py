"""Decoding in a separate process: a codec that crashes, hangs or takes too much memory costs one video, not the caller.

Nothing else opens or decodes what others made. The process serves one request after another and is replaced after a
crash. Frames come through shared memory, because a pipe would cost a third of the work; for batches it holds two, so
that the next one is decoded while one is encoded. The memory has no name: it is freed whoever is killed, at any moment.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from inspect import GEN_SUSPENDED, getgeneratorstate
from mmap import mmap
from multiprocessing import Pipe
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyclip.data import decoder_process
from anomalyclip.data.decoder_process import NEXT, PIXELS, STOP, Batch, End, Frame, Request, Slots
from anomalyclip.data.frame_folder import PIXELS_VARIABLE, Pixels
from anomalyclip.data.frame_ranges import Borders, FirstLook, FrameRange, FrameTable
from anomalyclip.data.video import (
    MAX_PIXELS,
    DecodeError,
    DecoderKilledError,
    TimedFrame,
    VideoInfo,
    counted_frames,
    encoding,
    is_rotated,
)

TIMEOUT = 120.0
"""Seconds without a sign of life after which a decoder counts as hung, unless another number is given
(`extraction.decode_timeout`)."""


class Decoder:
    """A process that reads videos, started when first needed; for one thread at a time.

    Its methods raise DecodeError where the functions of `video.py` do, and for a process that died or hung;
    DecoderKilledError if it was killed or found no memory. A request ends the frames of the one before.
    """

    def __init__(self, timeout: float = TIMEOUT, max_pixels: int = MAX_PIXELS) -> None:
        """Create a decoder that counts as hung after `timeout` seconds without a sign of life.

        `max_pixels` of a frame also bound the memory of its process.
        """
        self._timeout, self._max_pixels = timeout, max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self._info: VideoInfo | None = None
        self._borders = Borders((), ())
        self._slots: Pixels
        self._in_work: Generator[Any] | None = None

    @property
    def info(self) -> VideoInfo:
        """Facts about the video whose batches were read; RuntimeError until they are exhausted."""
        if self._info is None:
            raise RuntimeError("the number of frames is known once all of them have been read")
        return self._info

    def batches(self, path: Path, sampling_rate: int, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 RGB arrays (frames, height, width, 3); each is overwritten when the next is asked for."""
        self._info = None
        return self._begin(self._batches(path, sampling_rate, batch_size))

    @property
    def borders(self) -> Borders:
        """Checksums of the frames around the borders of the range that was read last."""
        return self._borders

    def range_batches(
        self, path: Path, wanted: FrameRange, sampling_rate: int, batch_size: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the batches of a range of a file like `batches`; `borders` are known at the end."""
        return self._begin(self._range_batches(path, wanted, sampling_rate, batch_size))

    def first_look(self, path: Path) -> FirstLook:
        """Return what a file shows without reading it."""
        found: FirstLook = self._end_of(Request(decoder_process.look, path))
        return found

    def frame_table(self, path: Path, spacing: int, look: FirstLook) -> FrameTable | None:
        """Return the frames of a file, None if it can be decoded from its start only."""
        found: FrameTable | None = self._end_of(Request(decoder_process.table, path, (spacing, look)))
        return found

    def frames(self, path: Path, fps: float = 25.0, height: int | None = None) -> Iterator[TimedFrame]:
        """Yield frames like `timed_frames`; pixels can be asked for until the next frame is, and are overwritten."""
        return self._begin(self._frames(path, fps, height))

    def probe(self, path: Path) -> int:
        """Return the number of frames of a video without decoding it."""
        return int(self._ask(counted_frames, path))

    def is_rotated(self, path: Path) -> bool:
        """Return whether a video is displayed rotated or mirrored."""
        return bool(self._ask(is_rotated, path))

    def encoding(self, path: Path) -> tuple[str, str, str]:
        """Return a video's container, codec and pixel format."""
        container, codec, pixel_format = self._ask(encoding, path)
        return container, codec, pixel_format

    def has_marks(self, picture: Path) -> bool:
        """Return whether a picture has a pixel that is not zero."""
        return bool(self._ask(decoder_process.has_marks, picture))

    def close(self) -> None:
        """End what is in work, and the process."""
        if self._in_work is not None:
            self._in_work.close()
        self._kill()

    def start(self) -> None:
        """Start the process, if it does not run: its libraries take half a second to import."""
        if self._process is not None and self._process.poll() is None:
            return
        self._kill()
        self._process, self._connection = child(decoder_process.__name__, self._max_pixels, self._max_pixels)

    def _kill(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _begin(self, work: Generator[Any]) -> Generator[Any]:
        if self._in_work is not None:
            self._in_work.close()
        self._in_work = work
        return work

    def _ask(self, function: Callable[[Path], Any], path: Path) -> Any:
        return self._end_of(Request(decoder_process.answer, path, (function,)))

    def _end_of(self, request: Request) -> Any:
        *_, end = self._begin(self._messages(request, self._timeout))
        return end.value

    def _batches(self, path: Path, sampling_rate: int, batch_size: int) -> Generator[NDArray[np.uint8]]:
        request = Request(decoder_process.send_batches, path, (sampling_rate, batch_size))
        self._info = yield from self._arrays(request, self._timeout * sampling_rate)

    def _range_batches(
        self, path: Path, wanted: FrameRange, sampling_rate: int, batch_size: int
    ) -> Generator[NDArray[np.uint8]]:
        request = Request(decoder_process.send_range, path, (wanted, sampling_rate, batch_size))
        before = (wanted.start - wanted.first) // batch_size  # no batch comes before the range
        self._borders = yield from self._arrays(request, self._timeout * (sampling_rate + before))

    def _arrays(self, request: Request, timeout: float) -> Generator[NDArray[np.uint8], None, Any]:
        """Yield the batches that answer a request, and return what is said at the end."""
        for message in self._messages(request, timeout):
            if isinstance(message, Batch):
                yield self._slots[message.slot, : message.frames]
                self._send(request.path, None)
        return message.value

    def _frames(self, path: Path, fps: float, height: int | None) -> Generator[TimedFrame]:
        messages = self._messages(Request(decoder_process.send_frames, path, (fps, height)), self._timeout)

        def pixels() -> Pixels:
            self._send(path, PIXELS)
            next(messages)
            return np.asarray(self._slots[0], np.uint8)

        try:
            for message in messages:
                if isinstance(message, Frame):
                    yield TimedFrame(message.seconds, pixels)
                    self._send(path, NEXT)
        except GeneratorExit:  # the process may serve on: starting another one takes half a second
            if getgeneratorstate(messages) == GEN_SUSPENDED:
                with suppress(DecodeError):
                    self._send(path, STOP)
                    next(messages)
            raise
        finally:
            messages.close()

    def _messages(self, request: Request, timeout: float) -> Generator[Any]:
        """Yield what the process says to a request, End last; it is killed if that is not waited for."""
        self.start()
        message = None
        try:
            self._send(request.path, request)
            while not isinstance(message, End):
                message = self._receive(request.path, timeout, self._connection.recv)
                if isinstance(message, DecodeError):
                    raise message
                if isinstance(message, Slots):
                    self._slots = self._shared(request.path, timeout, message.shape)
                else:
                    yield message
        finally:
            # stopped in the middle: what the process still sends would be taken for the next video's
            if not isinstance(message, End | DecodeError):
                self._kill()

    def _shared(self, path: Path, timeout: float, shape: tuple[int, ...]) -> Pixels:
        descriptor = self._receive(path, timeout, partial(recv_handle, self._connection))
        return shared_frames(descriptor, shape)

    def _send(self, path: Path, message: Any) -> None:
        try:
            self._connection.send(message)
        except ConnectionError:
            raise self._death(path) from None

    def _receive(self, path: Path, timeout: float, receive: Callable[[], Any]) -> Any:
        try:
            if self._connection.poll(timeout):
                return receive()
        except (EOFError, ConnectionError):
            raise self._death(path) from None
        raise DecodeError(f"{path}: the decoder hung: no frame for {timeout:g} s")

    def _death(self, path: Path) -> DecodeError:
        assert self._process is not None
        code = self._process.wait()
        if code == -signal.SIGKILL:  # by the kernel, when memory is short, or by a person: nothing in it does so
            return DecoderKilledError(f"{path}: the decoder was killed")
        return DecodeError(f"{path}: the decoder died ({cause_of_death(code)})")


def child(module: str, max_pixels: int, *arguments: object) -> tuple[subprocess.Popen[bytes], Any]:
    """Start a process that runs `main` of a module, and return it and the connection to it.

    Its arguments are the file descriptor of its end of the connection, and those given.
    """
    ours, theirs = Pipe()
    # not by multiprocessing: forking threads is unsafe, and spawning would import Ray in the decoder; not a torch
    # DataLoader: outside the main thread it notices a dead worker only after its time-out
    code = f"from {module} import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno()), *map(str, arguments)],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), PIXELS_VARIABLE: str(max_pixels)},
    )
    theirs.close()
    return process, ours


def shared_frames(descriptor: int, shape: tuple[int, ...]) -> Pixels:
    """Return the frames in memory that another process shares by this file descriptor, which is closed."""
    try:
        return np.frombuffer(mmap(descriptor, int(np.prod(shape))), np.uint8).reshape(shape)
    finally:
        os.close(descriptor)


def cause_of_death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
