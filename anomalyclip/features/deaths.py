"""Deaths of extraction workers: counted, so that a video that kills its worker does not do so for ever."""

from collections import Counter

from anomalyclip.errors import JobError, first_names

VIDEO_TRIES = 3
"""Times that a video is begun if its worker dies each time."""
WORKER_STARTS = 5
"""Times that a worker is started if none does a video in between."""


class WorkerDeaths:
    """What a worker that dies cannot report itself; Ray starts it again, with its videos, for ever."""

    def __init__(self, workers: int) -> None:
        self._most_starts, self._starts = WORKER_STARTS * workers, 0
        self._begun = Counter[str]()

    def start(self) -> None:
        """Count the start of a worker; raises JobError if too many have started since a video was done."""
        self._starts += 1
        if self._starts > self._most_starts:
            raise JobError(f"workers died {self._most_starts} times and did no video")

    def begin(self, source: str, before: str | None = None) -> None:
        """Count the start of a video, and the one before it as done.

        Raises JobError if workers died at each start before, and names all such videos.
        """
        if before is not None:
            self.end(before)
        self._begun[source] += 1
        if self._begun[source] > VIDEO_TRIES:
            often = [name for name, times in self._begun.items() if times >= VIDEO_TRIES]
            raise JobError(f"a worker died {VIDEO_TRIES} times while it extracted {first_names(often)}")

    def end(self, source: str) -> None:
        """Count a video that is done."""
        self._starts = 0
        del self._begun[source]
