"""Times of a video's frames, where they are not even, and the time of day at which it starts."""

import base64
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNEVEN = 1.5
"""Frames by which a frame comes too early or too late in a video of variable rate."""
FIRST_YEAR = 1990
"""Clocks that were never set say 1904 or 1970."""
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, eq=False)
class Timing:
    """What is known of a video's time beyond its frames per second."""

    times: NDArray[np.float64] | None = None
    """Seconds from the first frame at which each frame starts, rising; None if they are even, or unknown."""
    started: datetime | None = None
    """Time of day of the first frame."""


def uneven_times(stamps: NDArray[np.int64], time_base: float, fps: float) -> NDArray[np.float64] | None:
    """Return the seconds `(frames,)` at which frames start, None if these are even, or useless as they do not rise.

    `stamps` are presentation times in units of `time_base` seconds; `fps` is the mean rate, 0 if unknown.
    """
    times = np.round((stamps - stamps[0]) * (time_base * _MICROSECONDS)) / _MICROSECONDS
    if len(times) < 2 or not (np.diff(times) > 0).all():
        return None
    if fps and np.abs(times - np.arange(len(times)) / fps).max() * fps <= UNEVEN:
        return None
    return np.asarray(times, dtype=np.float64)


def creation_time(text: str | None) -> datetime | None:
    """Return a container's time of creation; None if there is none, or a clock that was never set."""
    try:
        found = datetime.fromisoformat(text.strip()) if text else None
    except ValueError:
        return None
    return found if found and found.year >= FIRST_YEAR else None


def timing_metadata(timing: Timing) -> dict[str, str]:
    """Return a timing as text for the metadata of a file: of times to the microsecond, a few bytes per frame."""
    found = {}
    if timing.times is not None:
        steps = np.diff(np.round(timing.times * _MICROSECONDS).astype(np.int64))
        found["times"] = base64.b85encode(zlib.compress(steps.astype("<i8").tobytes(), 6)).decode()
    if timing.started is not None:
        found["started"] = timing.started.isoformat()
    return found


def read_timing(metadata: dict[bytes, bytes] | Any) -> Timing:
    """Return the timing in a file's metadata."""
    times, started = metadata.get(b"times"), metadata.get(b"started")
    if times is not None:
        steps = np.frombuffer(zlib.decompress(base64.b85decode(times)), "<i8")
        times = np.concatenate([[0], np.cumsum(steps)]) / _MICROSECONDS
    return Timing(times, datetime.fromisoformat(started.decode()) if started else None)
