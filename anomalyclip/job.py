"""A job: the shared options of a command, resolved."""

from dataclasses import dataclass

from anomalyclip.config import RunConfig
from anomalyclip.storage import Storage


@dataclass(frozen=True)
class Job:
    """Where a command works, with which configuration, and under which name."""

    storage: Storage
    config: RunConfig
    name: str | None
    """Of the run; None derives one from what decides its result."""
    fresh: bool
    """Start again what is there under that name."""
    tracking_uri: str
