"""Unix times of a camera's frames: when each was received, evened out by the stamps of the stream."""

JUMP = 2.0
"""Seconds by which stamps may leave the time of receipt before they count as set anew."""
LONGEST_WAIT = 60.0
"""Seconds from one frame of a recording to the next; more are left out."""
REORDERED = 0.5
"""Seconds by which a frame may be shown before the one that is decoded before it."""
DRIFT = 1e-3
"""Seconds per second by which a camera's clock may be slow."""
TOLERANCE = 0.1
"""Part of a step by which a frame may come early: times waver."""
STEP = 1e-3
"""Seconds between two frames that seem to come at once."""


class Clock:
    """Times of one connection.

    What comes fastest tells how stamps and Unix time belong together; what comes later waited on its way.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._seen = self._stamp = 0.0

    def anchor(self, stamp: float, now: float) -> None:
        """Learn that a packet with this stamp (seconds) was received now (Unix time)."""
        late = now - stamp
        if self._offset is None or abs(late - self._offset) > JUMP:
            self._offset = late
        self._offset = min(late, self._offset + DRIFT * max(0.0, now - self._seen))
        self._seen = now

    def play(self, stamp: float, now: float) -> None:
        """Learn the stamp of the next packet of a recording, which is played: the first one's time is now."""
        if self._offset is None or not -REORDERED < stamp - self._stamp < LONGEST_WAIT:
            self._offset = now - stamp
        self._stamp = stamp

    def time(self, stamp: float | None, now: float) -> float:
        """Return the Unix time of a stamp; of none, or before any anchor, now."""
        return now if stamp is None or self._offset is None else stamp + self._offset


def rising(time: float, before: float) -> float:
    """Return a time that is after the one before, unless the machine's clock was set back."""
    return max(time, before + STEP) if before - time < JUMP else time


class Thinning:
    """Chooses the frames of a lower rate; None takes all."""

    def __init__(self, fps: float | None) -> None:
        self._step = None if fps is None else 1 / fps
        self._due = 0.0

    def takes(self, time: float) -> bool:
        """Return whether the frame of this time (seconds) is one of them."""
        if self._step is None:
            return True
        if not self._due - 2 * self._step <= time < self._due + self._step:  # a gap, or a clock that was set
            self._due = time
        if time < self._due - TOLERANCE * self._step:
            return False
        self._due += self._step
        return True
