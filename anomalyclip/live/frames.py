"""What a camera gives: frames with their times, and the state of its picture."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sight = Literal["ok", "lost", "black", "frozen"]
"""What a camera sees: something, or why it sees nothing."""


@dataclass(frozen=True)
class SightChange:
    """A camera's sight changed."""

    sight: Sight
    time: float
    """Unix time in seconds."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What a camera gave since it was last asked."""

    frames: NDArray[np.uint8]
    """RGB, `(frames, height, width, 3)`, in order; valid until the camera is asked again."""
    numbers: NDArray[np.int64]
    """`(frames,)`: place of each frame among all that were decoded since the start; dropped ones count too."""
    times: NDArray[np.float64]
    """`(frames,)`: Unix time in seconds at which each was received; of a file the start and the frame's own time."""
    dropped: int = 0
    """Frames that were dropped since, because nobody asked for them in time."""
    changes: tuple[SightChange, ...] = ()
    ended: bool = False
    """Whether the source was a file, and has come to its end."""
