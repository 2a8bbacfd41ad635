"""Changes of events: what is told of an event while it happens."""

from typing import Literal, NamedTuple

from anomalyclip.events.event import Event

ChangeKind = Literal["new", "update", "end"]


class Change(NamedTuple):
    """An event of a camera opened, changed or closed."""

    kind: ChangeKind
    id: str
    """Of the event; the same in all its changes, and of no other event."""
    before: Event
    """The event as it was told last; of a new one, as it is."""
    after: Event
    """`video_id` is the name of the source; seconds and frames count from when the source was first watched."""
