"""A job: the shared options of a command, resolved."""

from dataclasses import dataclass

from anomalyclip.config import RunConfig
from anomalyclip.storage import Storage


@dataclass(frozen=True)
class Job:
    """Storage, configuration and run name of a command."""

    storage: Storage
    config: RunConfig
    name: str | None
    """Of the run; None derives one from what decides its result."""
    fresh: bool
    """Remove what exists under that name and start from the beginning."""
    tracking_uri: str
    retry: bool = False
    """Extract quarantined videos again."""
