"""Unix times of a camera's frames: when each was received, evened out by the stamps of the stream."""

JUMP = 2.0
"""Seconds by which stamps may leave the time of receipt before they count as set anew."""
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
        self._seen = 0.0

    @property
    def anchored(self) -> bool:
        """Whether any stamp has been learnt."""
        return self._offset is not None

    def anchor(self, stamp: float, now: float) -> None:
        """Learn that a packet with this stamp (seconds) was received now (Unix time)."""
        late = now - stamp
        if self._offset is None or abs(late - self._offset) > JUMP:
            self._offset = late
        self._offset = min(late, self._offset + DRIFT * max(0.0, now - self._seen))
        self._seen = now

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
