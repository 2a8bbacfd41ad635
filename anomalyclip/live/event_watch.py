"""Events of one camera while its scores come: `events.detection.find_events` of a stream that has no end."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from anomalyclip.data.labels import NORMAL
from anomalyclip.events.detection import EXACT, OperatingPoint, leaving
from anomalyclip.events.event import Event, Severity
from anomalyclip.events.new_sums import NewSums
from anomalyclip.live.changes import Change
from anomalyclip.live.moving_mean import Frame, MovingMean
from anomalyclip.live.scorer import Scored

PAUSE = 1.0
"""Seconds from what was told of an event to its next update, at least."""
CLEARLY = 0.05
"""By so much a peak must grow to be told."""


@dataclass(slots=True)
class Stretch:
    """Sums over frames that follow each other: memory does not grow with their number."""

    first: Frame
    last: Frame
    peak: Frame
    """The first of those with the highest smoothed score."""
    frames: int
    total: float
    """Of the smoothed scores."""
    masses: NDArray[np.float64]
    new: NewSums

    def extend(self, later: "Stretch") -> None:
        """Add a stretch that begins where this one ends."""
        self.last = later.last
        self.peak = later.peak if later.peak.smoothed > self.peak.smoothed else self.peak
        self.frames, self.total = self.frames + later.frames, self.total + later.total
        self.masses, self.new = self.masses + later.masses, self.new + later.new


class EventWatch:
    """Finds the events of one camera, and tells what changes.

    Fed with all frames of a video and closed, its ended events are those of `find_events`. An event is new once it is
    certain: it has reached the threshold, and lasted. It ends once no later frame can belong to it.

    Args:
        name: of the camera.
        classes: those of the probabilities, Normal among them.
        point: thresholds and durations.
        began: Unix time at which the camera was first watched.
        new: names of classes that nobody trained; their probabilities stand behind those of the others.
    """

    def __init__(
        self, name: str, classes: Sequence[str], point: OperatingPoint, began: float, new: Sequence[str] = ()
    ) -> None:
        self._name, self._point, self._began, self._new = name, point, began, new
        self._classes = len(classes)
        self._abnormal = [place for place, each in enumerate(classes) if each != NORMAL]
        self._names = [classes[place] for place in self._abnormal]
        self._leaving = leaving(point.detection, point.events.leave)
        self._newest = -math.inf
        """Unix time of the newest frame."""
        self._reset()

    def push(self, scored: Scored) -> list[Change]:
        """Add the next frames; returns what is certain by now, in order.

        Where times fall, as a clock was set back, what is open ends.
        """
        masses = scored.probabilities[:, self._abnormal].astype(np.float64)
        changes: list[Change] = []
        rows = zip(
            scored.numbers.tolist(), scored.times.tolist(), scored.scores.tolist(), masses, self._sums(scored, masses),
            strict=True,
        )  # fmt: skip
        for number, time, score, own, new in rows:
            if time < self._newest:
                changes += self.close(math.inf)
            self._newest = time
            changes += self._follow(self._mean.push(Frame(number, time - self._began, score, own, new)))
        return changes

    def _sums(self, scored: Scored, masses: NDArray[np.float64]) -> Iterable[NewSums]:
        """Return what each frame says of new classes."""
        new = scored.probabilities[:, self._classes :]
        for row in range(len(masses)):
            one = slice(row, row + 1)
            yield NewSums.of(self._new, scored.scores[one], masses[one], new[one])

    def close(self, time: float) -> list[Change]:
        """End what is open at this Unix time, at which the source is lost or has ended, or the program stops.

        Frames may come again later: what they show is another event.
        """
        changes = self._follow(self._mean.finish(time - self._began)) + self._end()
        self._reset()
        return changes

    def _reset(self) -> None:
        self._mean = MovingMean(self._point.events.smoothing)
        self._event: Stretch | None = None
        """Up to the last frame that belongs to it for certain."""
        self._running = False
        """Whether the newest frame belongs to it."""
        self._pause: Stretch | None = None
        """Frames after it, up to `_run`."""
        self._run: Stretch | None = None
        """Frames above leaving that have not reached the threshold yet."""
        self._told: Event | None = None
        self._told_at = 0.0

    def _follow(self, frames: Iterable[Frame]) -> list[Change]:
        changes = []
        for frame in frames:
            self._advance(frame)
            changes += self._tell(frame)
            if self._event and not self._running and not self._run and self._is_past(frame):
                changes += self._end()
        return changes

    def _advance(self, frame: Frame) -> None:
        """Add a frame to the event, to the pause after it, or to what may become part of it."""
        own = Stretch(frame, frame, frame, 1, frame.smoothed, frame.masses, frame.new)
        if frame.smoothed < self._leaving:
            if self._event:
                self._pause = _joined(self._pause, self._run, own)
            self._running, self._run = False, None
        elif self._running:
            self._event = _joined(self._event, own)
        else:
            self._run = _joined(self._run, own)
            if frame.smoothed >= self._point.detection:
                self._event = _joined(self._event, self._pause, self._run)
                self._running, self._pause, self._run = True, None, None

    def _is_past(self, frame: Frame) -> bool:
        """Return whether frames after this one are too far from the event to be a part of it."""
        assert self._event
        return frame.end - self._event.last.end > self._point.events.gap + EXACT

    def _tell(self, frame: Frame) -> list[Change]:
        """Return what is new of the open event at the end of this frame."""
        if not self._event or self._event.last.end - self._event.first.start < self._point.events.shortest - EXACT:
            return []
        told, soon = self._told, frame.end - self._told_at < PAUSE - EXACT
        if told and soon:
            return []
        now = self._described(self._event)
        if told and not _differs(told, now):
            return []
        self._told, self._told_at = now, frame.end
        return [Change("update" if told else "new", self._id(now), told or now, now)]

    def _end(self) -> list[Change]:
        event, told = self._event, self._told
        self._event = self._told = self._pause = None
        if event is None or told is None:  # too short to be an event
            return []
        return [Change("end", self._id(told), told, self._described(event))]

    def _id(self, event: Event) -> str:
        return f"{self._began + event.start:.3f}-{self._name}"

    def _described(self, event: Stretch) -> Event:
        first, last, peak = event.first, event.last, event.peak
        label = int(event.masses.argmax())
        severity: Severity = "alert" if peak.smoothed >= self._point.alert else "detection"
        return Event(
            video_id=self._name,
            start_frame=first.number,
            end_frame=last.last_number,
            start=first.start,
            end=last.end,
            clock_start=self._clock(first.start),
            clock_end=self._clock(last.end),
            label=self._names[label],
            share=float(event.masses[label]) / (float(event.masses.sum()) or 1.0),
            peak=peak.smoothed,
            mean=event.total / event.frames,
            peak_frame=peak.number,
            severity=severity,
            new_label=event.new.label(),
            new_shares=event.new.shares(),
        )

    def _clock(self, seconds: float) -> str:
        moment = datetime.fromtimestamp(self._began, UTC) + timedelta(seconds=seconds)
        return moment.isoformat(timespec="milliseconds")


def _joined(*parts: Stretch | None) -> Stretch:
    """Return stretches that follow each other as one; at least one is given."""
    first, *later = [part for part in parts if part]
    for each in later:
        first.extend(each)
    return first


def _differs(told: Event, now: Event) -> bool:
    raised = told.severity == "detection" and now.severity == "alert"
    return raised or told.label != now.label or now.peak >= told.peak + CLEARLY
