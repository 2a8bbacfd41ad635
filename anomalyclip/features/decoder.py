"""Decoding in a separate process: a codec that crashes or hangs costs one video, not the worker.

The process serves one video after another and is replaced after a crash. Frames come through shared memory,
because a pipe would cost a third of the work; it holds two batches, so that the next one is decoded while one
is encoded.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyclip.data.video import DecodeError, VideoInfo, VideoReader
from anomalyclip.storage import scratch

SLOTS = 2
_MEMORY = Path("/dev/shm")  # noqa: S108 (files there are made by tempfile, with a random name, for this user alone)


class _Slots(NamedTuple):
    path: str
    shape: tuple[int, ...]


class _Batch(NamedTuple):
    slot: int
    frames: int


class Decoder:
    """A process that decodes videos, started when first needed; for one thread at a time."""

    def __init__(self, timeout: float) -> None:
        """Create a decoder that counts as hung after `timeout` seconds without a batch."""
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self._info: VideoInfo | None = None

    @property
    def info(self) -> VideoInfo:
        """Facts about the decoded video; RuntimeError until the frames are exhausted."""
        if self._info is None:
            raise RuntimeError("the number of frames is known once all of them have been read")
        return self._info

    def batches(self, path: Path, sampling_rate: int, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 RGB arrays (frames, height, width, 3); each is overwritten when the next is asked for.

        Raises DecodeError like VideoReader, and for a decoder that died or hung.
        """
        self._info = None
        self.start()
        message = None
        try:
            self._send(path, (path, sampling_rate, batch_size))
            while not isinstance(
                message := self._receive(path, self._timeout * sampling_rate), VideoInfo | DecodeError
            ):
                if isinstance(message, _Slots):
                    slots = np.memmap(message.path, np.uint8, "r+", shape=message.shape)
                    # both have it mapped: without a name, the memory is freed even if both are killed
                    Path(message.path).unlink()
                else:
                    yield slots[message.slot, : message.frames]
                    self._send(path, None)
        finally:
            # stopped in the middle: what the process still sends would be taken for the next video's
            if not isinstance(message, VideoInfo | DecodeError):
                self.close()
        if isinstance(message, DecodeError):
            raise message
        self._info = message

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
            [sys.executable, "-c", f"from {__name__} import main; main()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
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
        return DecodeError(f"{path}: the decoder died ({_cause(self._process.wait())})")


def main() -> None:
    """Run the decoder process; the argument is the file descriptor of its connection."""
    # Ctrl-C reaches the whole process group: the worker ends the decoder when it closes the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):
        _serve(Connection(int(sys.argv[1])))


def _serve(connection: Any) -> None:
    while True:
        path, sampling_rate, batch_size = connection.recv()
        try:
            connection.send(_decode(VideoReader(path, sampling_rate, batch_size), connection))
        except DecodeError as error:
            connection.send(error)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            connection.send(DecodeError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"))


def _decode(reader: VideoReader, connection: Any) -> VideoInfo:
    in_use = 0
    slots: NDArray[np.uint8] | None = None
    try:
        for number, frames in enumerate(reader):
            if slots is None:
                slots = _allocate((SLOTS, *frames.shape), connection)
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


def _allocate(shape: tuple[int, ...], connection: Any) -> NDArray[np.uint8]:
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
    raise OSError(f"no space for {size} bytes of frames in {_MEMORY} or {scratch()}")


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
