"""Whether a camera sees anything: its picture may be lost, black or frozen."""

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anomalyclip.live.frames import Sight, SightChange

WIDTH, HEIGHT = 64, 36
"""Pixels of the small picture that is compared."""
LOOKS = 4
"""Comparisons per second."""
GAP = 2.0
"""Seconds without a picture after which nothing is known, unless `blind_after` is long."""
BLACK, BLACK_PART = 26, 0.95
"""A picture is black if so large a part of it is darker than this, of 255; the rest may be a clock in a corner."""
NOISE, CHANGED_PART = 2, 0.003
"""A picture is another one if so large a part of it differs by more than this, of 255: below it is what an encoder does
to the same picture."""


class PictureWatch:
    """Tells when the picture of a camera has been black, or the same, for `blind_after` seconds."""

    def __init__(self, blind_after: float) -> None:
        self._blind_after = blind_after
        self._reformatter = VideoReformatter()
        self._sight: Sight = "ok"
        self._looked = -np.inf
        self._kept = np.zeros((HEIGHT, WIDTH), np.int16)
        self._changed = self._bright = 0.0

    def see(self, frame: Any, time: float) -> SightChange | None:
        """Look at a decoded frame of this time; return the change of sight, if there is one."""
        if 0 <= time - self._looked < 1 / LOOKS:
            return None
        # single pixels, not means of many: the noise of a sensor, which a frozen picture lacks, would be averaged out
        small = self._reformatter.reformat(frame, width=WIDTH, height=HEIGHT, format="gray", interpolation="POINT")
        return self.look(np.asarray(small.to_ndarray(), np.uint8), time)

    def look(self, picture: NDArray[np.uint8], time: float) -> SightChange | None:
        """Look at a small grey picture, `(height, width)`."""
        # what was not seen for long cannot be said to have stayed the same
        first = not 0 <= time - self._looked < max(GAP, self._blind_after / 2)
        self._looked = time
        if first or np.mean(np.abs(picture - self._kept) > NOISE) > CHANGED_PART:
            self._kept, self._changed = picture.astype(np.int16), time
        if first or np.mean(picture < BLACK) < BLACK_PART:
            self._bright = time
        return self._turn(time)

    def _turn(self, time: float) -> SightChange | None:
        sight: Sight = "ok"
        if time - self._bright >= self._blind_after:
            sight = "black"
        elif time - self._changed >= self._blind_after:
            sight = "frozen"
        if sight == self._sight:
            return None
        self._sight = sight
        return SightChange(sight, time)


class SightWatch:
    """Joins what the picture tells with whether frames come at all."""

    def __init__(self, lost_after: float) -> None:
        self._lost_after = lost_after
        self._picture: Sight = "ok"
        self._lost = False

    def changes(self, pictures: tuple[SightChange, ...], silent: float, now: float) -> tuple[SightChange, ...]:
        """Return the changes since the last call; `silent`: seconds since the last frame, `now`: Unix time."""
        found = list[SightChange]()
        if pictures:
            self._picture = pictures[-1].sight
        if silent >= self._lost_after:
            if not self._lost:
                found = [*pictures, SightChange("lost", now)]
            self._lost = True
        elif self._lost:
            self._lost = False
            found = [SightChange(self._picture, now)]
        else:
            found = list(pictures)
        return tuple(found)
