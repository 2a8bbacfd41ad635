"""Messages about events: what is told when one opens, changes and ends."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from anomalyclip.live.changes import ChangeKind

MessageKind = Literal["anomaly", "sight"]
"""Something that happens before a camera, or a camera that sees nothing."""
EndReason = Literal["over", "source lost", "source ended", "new model", "watch stopped", "watch broke off"]
"""Why an event ended: it was over, or nobody could see it any further."""


@dataclass(frozen=True)
class Message:
    """One message about an event; its fields are those of the JSON."""

    type: ChangeKind
    id: str
    """Of the event."""
    message: str
    """Its own: `EVENT/NUMBER`, counted from 1. A message that is sent twice has the same one both times."""
    kind: MessageKind
    source: str
    """Name of the camera."""
    time: str
    """When it was made (ISO 8601, UTC)."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    """Fields of the event as it was told last, and as it is: those of `Event`, `clip` and `picture`."""
    reason: EndReason | None = None
    """Of an end."""

    @property
    def number(self) -> int:
        """Place among the messages of its event, from 1."""
        return int(self.message.rpartition("/")[2])

    def as_json(self) -> str:
        """Return the message as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "Message":
        """Return the message that `as_json` wrote."""
        return cls(**json.loads(text))

    def followed_by(self, kind: ChangeKind, after: Mapping[str, Any], reason: EndReason | None = None) -> "Message":
        """Return the next message of the same event."""
        message, time = f"{self.id}/{self.number + 1}", now()
        return Message(kind, self.id, message, self.kind, self.source, time, self.after, after, reason)


def first_message(id: str, kind: MessageKind, source: str, event: Mapping[str, Any]) -> Message:
    """Return the first message of an event with these fields."""
    return Message("new", id, f"{id}/1", kind, source, now(), event, event)


def now() -> str:
    """Return the time of day in UTC."""
    return iso(datetime.now(UTC).timestamp())


def iso(time: float) -> str:
    """Return a Unix time in ISO 8601, to the millisecond."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
