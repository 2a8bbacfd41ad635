"""Clips of events: each with some seconds before and after it."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from anomalyclip.data.cuts import cut
from anomalyclip.data.manifest_checks import UNSAFE
from anomalyclip.data.video import TimedFrame
from anomalyclip.events.event import Event

LONGEST_CLASS = 40
"""Bytes of a class in a file's name."""
TOLERANCE = 5e-4
"""Seconds: containers round the times of frames."""


def cut_clips(
    frames: Iterable[TimedFrame], events: Sequence[Event], folder: Path, before: float = 5.0, after: float = 10.0
) -> list[Path]:
    """Write an H.264 clip of each event of one video, and return their paths.

    A clip starts `before` seconds ahead of its event and ends `after` seconds behind it, or at the ends of the video.
    The frames are taken once. If they raise DecodeError, only clips that are whole are left.
    """
    clips = {
        folder / clip_name(event): partial(_inside, event.start - before - TOLERANCE, event.end + after - TOLERANCE)
        for event in events
    }
    return cut(frames, clips)


def clip_name(event: Event) -> str:
    """Return `VIDEOID_START-END_CLASS.mp4`, with times in seconds; safe as a file name on every system."""
    label = re.sub(r"\s", "_", UNSAFE.sub("_", event.label))
    label = label.encode(errors="replace")[:LONGEST_CLASS].decode(errors="ignore").strip(".")
    return f"{event.video_id}_{event.start:.1f}-{event.end:.1f}_{label}.mp4"


def _inside(start: float, end: float, index: int, seconds: float) -> bool:
    return start <= seconds < end
