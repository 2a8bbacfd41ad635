"""Workers and nodes that a training loses: said at once, with what it waits for, and how long it does."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anomalyclip.errors import JobError

log = logging.getLogger("anomalyclip")

WAIT_SECONDS = 600.0
"""Time in which the cluster must have room for all workers: an autoscaler starts a node in minutes."""


@dataclass
class LostWorkers:
    """The workers of a fit, as a look at the cluster from time to time sees them."""

    needed: int
    each: str
    """Resources of a worker, for users."""
    room: Callable[[], int]
    """Returns for how many workers the cluster has room."""
    lost_nodes: Callable[[], Mapping[str, str]]
    """Returns the names of the nodes that were lost at any time, by their ids."""
    told: Callable[[], str | None]
    """Returns what was told of lost workers since the last call."""
    _known: set[str] = field(default_factory=set)
    _since: float | None = None

    def __post_init__(self) -> None:
        self._known = set(self.lost_nodes())

    def look(self) -> None:
        """Log what was lost since the last look; raises JobError if there was no room for too long."""
        lost = self.lost_nodes()
        for node in lost.keys() - self._known:
            log.warning("node %s is lost, with its workers", lost[node])
        self._known |= lost.keys()
        if text := self.told():
            log.warning("%s", text)
        self._wait(self.room())

    def _wait(self, room: int) -> None:
        if room >= self.needed:
            if self._since is not None:
                log.info("the cluster has room for all %d workers again", self.needed)
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
            log.warning("training waits for room: %s; it gives up in %.0f s", self._lack(room), WAIT_SECONDS)
        elif time.monotonic() - self._since > WAIT_SECONDS:
            raise JobError(
                f"training found no room within {WAIT_SECONDS:.0f} s: {self._lack(room)}. Start nodes again and give "
                "the same command, or resume with fewer workers by --set training.workers=N: checkpoints are kept"
            )

    def _lack(self, room: int) -> str:
        return f"it needs {self.needed} workers with {self.each} each, and the cluster's nodes can hold {room}"
