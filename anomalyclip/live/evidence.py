"""Evidence of alerts: a clip and a picture of each, which its camera makes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

CLIPS, PICTURES = "clips", "pictures"


class Recorder(Protocol):
    """What makes clips and pictures: a camera."""

    @property
    def suffix(self) -> str:
        """Suffix of its clips, `.mp4` if the codec fits."""

    def record(self, event_id: str, start: float, target: Path) -> None:
        """Begin a clip."""

    def finish(self, event_id: str, end: float) -> None:
        """End it."""

    def picture(self, time: float, target: Path) -> None:
        """Make a picture of a time."""


class Evidence:
    """Clips and pictures in a folder; a file appears whole, some seconds after its event has ended."""

    def __init__(self, folder: Path) -> None:
        """Make the folders, and remove what an earlier process left unfinished."""
        self._folder = folder
        self._clips: dict[str, str] = {}
        self._peaks: dict[str, float] = {}
        for name in (CLIPS, PICTURES):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file in (folder / name).glob("*.partial"):
                file.unlink()

    def ask(self, camera: Recorder, id: str, start: float, peak: float | None) -> None:
        """Ask a camera for the clip of an alert that began at `start`, and a picture of its peak (Unix times).

        Asked again, it replaces the picture if the peak is another; None: it is too long ago to be known.
        """
        if id not in self._clips:
            self._clips[id] = f"{CLIPS}/{id}{camera.suffix}"
            camera.record(id, start, self._folder / self._clips[id])
        if peak is not None and self._peaks.get(id) != peak:
            self._peaks[id] = peak
            camera.picture(peak, self._folder / f"{PICTURES}/{id}.jpg")

    def finish(self, camera: Recorder, id: str, end: float) -> None:
        """End the clip of an event, if it has one."""
        if self._clips.pop(id, None) is not None:
            camera.finish(id, end)
        self._peaks.pop(id, None)

    def names(self, id: str) -> dict[str, str | None]:
        """Return the names of an event's clip and picture, relative to the folder; None for what was not asked for."""
        clip = self._clips.get(id)
        return {"clip": clip, "picture": None if clip is None else f"{PICTURES}/{id}.jpg"}

    def there(self, fields: Mapping[str, Any]) -> dict[str, str | None]:
        """Return the names of clip and picture in an event's fields, None for a file that is not there."""
        named = {name: fields.get(name) for name in ("clip", "picture")}
        return {name: file if file and (self._folder / file).exists() else None for name, file in named.items()}
