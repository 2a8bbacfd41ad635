"""The loop of live cameras: frames of all of them through one encoder and one model, changes to messages."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.feature_file import Features
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.changes import Change
from anomalyclip.live.event_watch import EventWatch
from anomalyclip.live.evidence import Recorder
from anomalyclip.live.frames import Sight, SightChange, Taken
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.scorer import LiveScorer, Scored
from anomalyclip.live.sinks.messages import EndReason
from anomalyclip.live.window import Pushed

log = logging.getLogger("anomalyclip")

MOST_FRAMES = 64
"""Frames of all cameras in one turn of the loop."""
TURN_SECONDS = 0.25
"""Time that a turn may take: on a slow machine it has fewer frames, so that none waits for a large batch."""
IDLE_SECONDS = 0.01
REPORT_SECONDS = 60.0
"""Time from one line about dropped frames to the next."""
KNOWN_TIMES = 2048
"""Newest frames of a camera whose times are known, for the picture of a peak."""

Encode = Callable[[NDArray[np.uint8]], Features]
"""RGB frames `(frames, height, width, 3)` to features `(frames, crops, dim)`."""


class Camera(Recorder, Protocol):
    """What gives frames."""

    @property
    def depth(self) -> int:
        """Frames that wait."""

    @property
    def fault(self) -> str:
        """Why nothing comes, in words without addresses; empty if that is not known."""

    def take(self, at_most: int) -> Taken:
        """Return the newest frames not yet taken, without waiting."""

    def close(self) -> None:
        """Complete open clips, and end."""


@dataclass(frozen=True, eq=False)
class Model:
    """All of a model that the loop needs."""

    name: str
    """For people."""
    encode: Encode
    """The same object for models that understand the same features."""
    scorer: LiveScorer
    point: OperatingPoint


@dataclass(eq=False)
class Watched:
    """A camera, and what is known of it."""

    name: str
    camera: Camera
    events: EventWatch | None = None
    """None until its first frame, and after a gap."""
    began: float | None = None
    """Unix time of its first frame."""
    sight: Sight = "ok"
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Of its newest frames with scores: (frames,)."""
    dropped: int = 0
    """Frames dropped since this was last logged."""

    def remember(self, scored: Scored) -> None:
        """Remember the times of new frames."""
        self.numbers = np.concatenate([self.numbers, scored.numbers])[-KNOWN_TIMES:]
        self.times = np.concatenate([self.times, scored.times])[-KNOWN_TIMES:]

    def time_of(self, number: int) -> float | None:
        """Return the time of a frame, None if it is not among the newest."""
        place = int(np.searchsorted(self.numbers, number))
        known = place < len(self.numbers) and self.numbers[place] == number
        return float(self.times[place]) if known else None


class Watch:
    """Watches cameras until all have ended, or until it is stopped; used by one thread."""

    def __init__(self, cameras: Mapping[str, Camera], model: Model, announcer: Announcer, metrics: Metrics) -> None:
        self._watched = [Watched(name, camera) for name, camera in cameras.items()]
        self._model, self._announcer, self._metrics = model, announcer, metrics
        self._next: deque[Model] = deque(maxlen=1)
        self._seconds_a_frame = 0.0
        self._reported = time.monotonic()
        self._started = time.time()
        self._closing: list[threading.Thread] = []
        self.failed: list[str] = []
        """Files that could not be read to their end, with the reason."""
        self.frames = self.dropped = 0
        """Frames of all cameras that were scored, and dropped, since the start."""
        metrics.model(model.name)

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._model.name

    def take_over(self, model: Model) -> None:
        """Use another model from the next turn on; any thread may call this."""
        self._next.append(model)

    def run(self, stop: threading.Event) -> None:
        """Watch until every source has ended, or until it is told to stop; open events are ended, cameras closed."""
        try:
            while self._watched and not stop.is_set():
                if not self.turn():
                    stop.wait(IDLE_SECONDS)
        finally:
            for watched in list(self._watched):
                self._leave(watched, "watch stopped")
            for closing in self._closing:
                closing.join()

    def turn(self) -> int:
        """Take what the cameras have, score it and tell what changed; returns the number of frames."""
        self._metrics.turned()
        self._change_model()
        started, taken = time.monotonic(), self._take()
        late = {name: self._early_changes(name, each) for name, each in taken.items()}
        frames = {name: each for name, each in taken.items() if len(each.frames)}
        self._score(frames)
        for watched in list(self._watched):
            for change in late[watched.name]:
                self._see(watched, change)
            if taken[watched.name].ended:
                if watched.camera.fault:
                    self.failed.append(f"{watched.name}: {watched.camera.fault}")
                self._leave(watched, "source ended")
        if count := sum(len(each.frames) for each in frames.values()):
            self._seconds_a_frame = (time.monotonic() - started) / count
        self._report()
        return count

    def _take(self) -> dict[str, Taken]:
        total = min(MOST_FRAMES, int(TURN_SECONDS / max(self._seconds_a_frame, 1e-6)))
        at_most = max(1, total // len(self._watched))
        taken = {}
        for watched in self._watched:
            each = taken[watched.name] = watched.camera.take(at_most)
            watched.dropped += each.dropped
            self.frames, self.dropped = self.frames + len(each.frames), self.dropped + each.dropped
            self._metrics.taken(watched.name, len(each.frames), each.dropped, watched.camera.depth)
            if len(each.frames) and watched.began is None:
                watched.began = float(each.times[0])
        return taken

    def _score(self, taken: Mapping[str, Taken]) -> None:
        rate = self._model.scorer.card.sampling_rate or 1
        used = {name: each.numbers % rate == 0 for name, each in taken.items()}
        features = encode_together(self._model.encode, {name: each.frames[used[name]] for name, each in taken.items()})
        pushed = {
            name: Pushed(features[name], each.times[used[name]], each.numbers[used[name]])
            for name, each in taken.items()
            if name in features
        }
        for name, scored in self._model.scorer.push(pushed).items():
            self._find(self._of(name), scored)

    def _find(self, watched: Watched, scored: Scored) -> None:
        """Find events in new scores of a camera."""
        if not len(scored.numbers):
            return
        assert watched.began is not None
        if watched.events is None:
            scorer = self._model.scorer
            watched.events = EventWatch(
                watched.name, scorer.classes, self._model.point, watched.began, scorer.new_classes
            )
        watched.remember(scored)
        self._metrics.scored(watched.name, scored.times)
        self._tell(watched, watched.events.push(scored))

    def _tell(self, watched: Watched, changes: Iterable[Change], reason: EndReason = "over") -> None:
        assert watched.began is not None
        for change in changes:
            peak = watched.time_of(change.after.peak_frame)
            self._announcer.change(watched.camera, change, watched.began, peak, reason)

    def _early_changes(self, name: str, taken: Taken) -> Sequence[SightChange]:
        """Tell the changes of a camera's sight from before its new frames, and return the others."""
        watched = self._of(name)
        if len(taken.frames) == 0:
            return taken.changes
        for change in taken.changes:
            if change.time <= taken.times[0]:
                self._see(watched, change)
        self._metrics.sees(name, True)
        return [change for change in taken.changes if change.time > taken.times[0]]

    def _see(self, watched: Watched, change: SightChange) -> None:
        why = f" ({watched.camera.fault})" if change.sight == "lost" and watched.camera.fault else ""
        log.log(
            logging.INFO if change.sight == "ok" else logging.WARNING,
            "source %s: %s%s",
            watched.name,
            change.sight,
            why,
        )
        if change.sight == "lost":
            self._metrics.sees(watched.name, False)
            self._break(watched, change.time, "source lost")
        watched.sight = change.sight
        self._announcer.sight(watched.name, change, watched.began or self._started)

    def _break(self, watched: Watched, at: float, reason: EndReason) -> None:
        """Score what has no score yet, and end all events: what comes next has another past."""
        self._find(watched, self._model.scorer.forget(watched.name))
        self._end(watched, at, reason)

    def _end(self, watched: Watched, at: float, reason: EndReason) -> None:
        if watched.events is not None:
            self._tell(watched, watched.events.close(at), reason)
        watched.events = None

    def _leave(self, watched: Watched, reason: EndReason) -> None:
        """End the events of a camera, and close it."""
        at = time.time()
        self._break(watched, at, reason)
        if watched.sight != "ok":
            self._announcer.sight(watched.name, SightChange("ok", at), watched.began or self._started, reason)
        self._metrics.sees(watched.name, False)
        self._watched.remove(watched)
        # beside the loop: open clips are completed, while the other cameras go on
        self._closing.append(threading.Thread(target=watched.camera.close))
        self._closing[-1].start()

    def _change_model(self) -> None:
        if not self._next:
            return
        new = self._next.pop()
        same, now = new.encode is self._model.encode, time.time()
        for watched in self._watched:
            if not same:
                self._find(watched, self._model.scorer.forget(watched.name))
            self._end(watched, now, "new model")
        if same:  # the past of the cameras is worth keeping: its features are those of the new model too
            self._model.scorer.swap(new.scorer)
        self._model = Model(new.name, new.encode, self._model.scorer if same else new.scorer, new.point)
        self._metrics.model(new.name)
        kept = "its windows go on" if same else "it understands other features: its windows begin anew"
        log.info("%s has taken over; %s", new.name, kept)

    def _report(self) -> None:
        if time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        if behind := [f"{each.name} {each.dropped}" for each in self._watched if each.dropped]:
            log.warning("frames dropped in the last minute, for they came too fast: %s", ", ".join(behind))
        for each in self._watched:
            each.dropped = 0

    def _of(self, name: str) -> Watched:
        return next(each for each in self._watched if each.name == name)


def encode_together(encode: Encode, frames: Mapping[str, NDArray[np.uint8]]) -> dict[str, Features]:
    """Return the features of cameras' frames, by name, without those that have none.

    Frames of one size go through the encoder together. Resizing all to one size first would make other features than
    those that the model was trained on.
    """
    sizes: dict[tuple[int, ...], list[str]] = {}
    for name, each in frames.items():
        if len(each):
            sizes.setdefault(each.shape[1:], []).append(name)
    features: dict[str, Features] = {}
    for names in sizes.values():
        parts = [frames[name] for name in names]
        together = parts[0] if len(parts) == 1 else np.concatenate(parts)
        encoded = np.concatenate([encode(piece) for piece in _pieces(together)])
        ends = np.cumsum([len(part) for part in parts])
        features |= zip(names, np.split(encoded, ends[:-1]), strict=True)
    return features


def _pieces(frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield frames in order, as batches of a power of two: libraries keep memory for every size that they have seen."""
    start = 0
    while left := len(frames) - start:
        size = 1 << (left.bit_length() - 1)
        yield frames[start : start + size]
        start += size
