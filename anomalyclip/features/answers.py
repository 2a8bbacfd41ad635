"""Buckets that do not answer: after a few failures the next requests fail at once, so that no row waits."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from anomalyclip.redaction import redact

MOST_FAILURES = 3
"""Failed connections in a row after which a bucket is left alone."""
PAUSE_SECONDS = 60.0
"""Time for which it is; then one request may try again."""
NO_ANSWER = re.compile(
    r"NETWORK_CONNECTION|curlCode|resolving region|UNAVAILABLE|DEADLINE_EXCEEDED|tim(ed|e) ?out|connect", re.IGNORECASE
)
"""What Arrow's errors say of a store that is away; one that refuses or lacks a file has answered."""


@dataclass
class _Silence:
    failures: int = 0
    until: float = 0.0
    said: str = ""


class Answers:
    """What this process knows of buckets, by their addresses; for many threads."""

    def __init__(self) -> None:
        self._silent: dict[str, _Silence] = {}
        self._lock = Lock()

    @contextmanager
    def asking(self, bucket: str) -> Iterator[None]:
        """Make a request to a bucket; raises ConnectionError at once if it has not answered the last ones."""
        self._refuse(bucket)
        try:
            yield
        except OSError as error:
            if not is_silence(error):
                self._forget(bucket)
            elif not isinstance(error, NotAskedError):
                self._count(bucket, str(error))
            raise
        self._forget(bucket)

    def _refuse(self, bucket: str) -> None:
        with self._lock:
            silence = self._silent.get(bucket)
            if silence is None or silence.failures < MOST_FAILURES:
                return
            if time.monotonic() < silence.until:
                times = f"did not answer {silence.failures} times"
                raise NotAskedError(f"{redact(bucket)} {times}, so this was not asked for: {silence.said}")
            silence.until = time.monotonic() + PAUSE_SECONDS  # this request alone tries again

    def _count(self, bucket: str, said: str) -> None:
        with self._lock:
            silence = self._silent.setdefault(bucket, _Silence())
            silence.failures += 1
            silence.until, silence.said = time.monotonic() + PAUSE_SECONDS, said

    def _forget(self, bucket: str) -> None:
        with self._lock:
            self._silent.pop(bucket, None)


class NotAskedError(ConnectionError):
    """A request that was not made, for its bucket has not answered the ones before."""


def is_silence(error: Exception) -> bool:
    """Return whether an error of a store means that it did not answer."""
    return isinstance(error, ConnectionError) or bool(NO_ANSWER.search(str(error)))
