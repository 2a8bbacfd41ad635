"""Announcements: changes of events and of sights, as messages in the outbox."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from anomalyclip.events.event import EVENTS
from anomalyclip.live.changes import Change
from anomalyclip.live.evidence import Evidence, Recorder
from anomalyclip.live.frames import Sight, SightChange
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.sinks.messages import EndReason, Message, first_message, iso

log = logging.getLogger("anomalyclip")

SIGHTS: Mapping[Sight, str] = {"lost": "camera lost", "black": "camera black", "frozen": "camera frozen"}
"""Labels of events of a camera that sees nothing; their severity is `alert`."""


class Messages(Protocol):
    """What takes messages, and knows which events it holds open: the outbox, or what stands for it elsewhere."""

    def put(self, message: Message) -> None:
        """Add a message; raises OSError if it cannot be written."""

    def open_events(self) -> Sequence[Message]:
        """Return the last message of each event that an earlier process left open."""


class Announcer:
    """Makes messages of changes; it knows which events are open, and asks for the evidence of alerts."""

    def __init__(self, outbox: Messages, evidence: Evidence, metrics: Metrics) -> None:
        self._outbox, self._evidence, self._metrics = outbox, evidence, metrics
        self._open: dict[str, Message] = {}
        self._failing = False
        self.events = self.alerts = 0
        """Events that ended since the start, and those of severity `alert` among them, without sights."""

    def settle(self) -> int:
        """End the events that an earlier process left open, and return how many they were."""
        left = self._outbox.open_events()
        for message in left:
            after = {**message.after, **self._evidence.there(message.after)}  # its clip died with the camera's process
            self._put(message.followed_by("end", after, "watch broke off"))
        return len(left)

    def change(
        self, camera: Recorder, change: Change, began: float, peak: float | None, reason: EndReason = "over"
    ) -> None:
        """Tell a change of an event, of a camera first watched at `began`; its highest score was at `peak`, if known.

        Both are Unix times in seconds; `reason` is why it ends, if it does.
        """
        event, id = change.after, change.id
        if event.severity == "alert":
            self._evidence.ask(camera, id, began + event.start, peak)
        fields = {**event.fields(), **self._evidence.names(id)}
        if change.kind == "end":
            self._evidence.finish(camera, id, began + event.end)
            self.events, self.alerts = self.events + 1, self.alerts + (event.severity == "alert")
            self._metrics.event(event.video_id, event.label, event.severity)
        if change.kind == "new":
            return self._put(first_message(id, "anomaly", event.video_id, fields))
        return self._put(self._open[id].followed_by(change.kind, fields, reason if change.kind == "end" else None))

    def sight(self, source: str, change: SightChange, began: float, reason: EndReason = "over") -> None:
        """Tell that a camera of this name sees nothing, or sees again."""
        for message in [each for each in self._open.values() if (each.kind, each.source) == ("sight", source)]:
            ended = {"end": change.time - began, "clock_end": iso(change.time)}
            self._metrics.event(source, message.after["label"], message.after["severity"])
            self._put(message.followed_by("end", {**message.after, **ended}, reason))
        if change.sight != "ok":
            fields = _sight_fields(source, SIGHTS[change.sight], change.time, began)
            self._put(first_message(f"{change.time:.3f}-{source}-{change.sight}", "sight", source, fields))

    def pass_on(self, message: Message) -> None:
        """Tell a message that was made elsewhere."""
        if (message.type, message.kind) == ("end", "anomaly"):
            self.events, self.alerts = self.events + 1, self.alerts + (message.after["severity"] == "alert")
        self._put(message)

    def break_off(self, sources: Collection[str]) -> None:
        """End what is open of sources that nobody watches any more."""
        for message in [each for each in self._open.values() if each.source in sources]:
            after = {**message.after, **self._evidence.there(message.after)}  # its clip died with the camera's process
            self._put(message.followed_by("end", after, "watch broke off"))

    def _put(self, message: Message) -> None:
        if message.type == "end":
            self._open.pop(message.id, None)
        else:
            self._open[message.id] = message
        try:
            self._outbox.put(message)
            self._failing = False
        except OSError as error:  # a full disk must not blind all cameras
            self._metrics.message_lost()
            if not self._failing:
                log.warning("messages are lost: %s", error)
            self._failing = True


def _sight_fields(source: str, label: str, time: float, began: float) -> dict[str, Any]:
    """Return the fields of an event without scores that has just begun."""
    known = {
        "video_id": source,
        "start": time - began,
        "end": time - began,
        "clock_start": iso(time),
        "clock_end": iso(time),
        "label": label,
        "severity": "alert",
    }
    return {**dict.fromkeys(EVENTS.names()), **known, "clip": None, "picture": None}
