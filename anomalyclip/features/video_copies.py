"""Copies of long videos of object stores on a worker, so that their parts do not fetch them one by one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalyclip.data.uris import is_uri
from anomalyclip.features.sources import fetch
from anomalyclip.storage import scratch


class VideoCopies:
    """One copy per video that is in use, and that of the video used last; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: dict[tuple[str, int, int], TemporaryDirectory[str]] = {}
        self._users: dict[tuple[str, int, int], int] = {}

    @contextmanager
    def local(self, source: str, stamp: tuple[int, int]) -> Iterator[Path]:
        """Yield the path of a source of that size and time, its own if it is local; raises OSError."""
        if not is_uri(source):
            yield Path(source)
            return
        key = (source, *stamp)
        with self._lock:  # also while it is fetched: the others of its parts wait for it
            if key not in self._folders:
                self._remove_idle()
                folder = TemporaryDirectory(dir=scratch(), prefix="extract-")
                fetch(source, Path(folder.name))
                self._folders[key] = folder
            self._users[key] = self._users.get(key, 0) + 1
        try:
            yield next(Path(self._folders[key].name).iterdir())
        finally:
            with self._lock:
                self._users[key] -= 1

    def _remove_idle(self) -> None:
        for key in [key for key in self._folders if not self._users[key]]:
            self._folders.pop(key).cleanup()
            del self._users[key]
