"""The scratch folder of this machine: caches, copies of what is stored elsewhere, and what killed jobs have left."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from anomalyclip.features.cache import idle_caches, is_in_use, remove_cache

CACHE = "cache"
COPIES = {
    "models": "a copy of a registered model",
    "predictions": "a copy of a run's predictions",
    "scores": "scores of videos by a model, which are computed again from their features",
    "pictures": "drawn pictures, which pre-training draws again",
}
TEMPORARY = ("tmp*", "extract-*", "probe-*", "import-*", "anomalyclip-frames-*")
"""Names of the temporary folders of jobs."""


@dataclass(frozen=True)
class Place:
    """A file or folder of the scratch folder."""

    path: Path
    name: str
    """Relative to the scratch folder."""
    files: int
    size: int
    changed: float
    """When it was used last, as far as is known."""
    what: str
    in_use: bool = False


def places(folder: Path) -> list[Place]:
    """Return what the scratch folder holds, by name."""
    parts = list[Path]()
    for path in sorted(folder.iterdir()):
        parts += sorted(path.iterdir()) if path.name in (CACHE, *COPIES) and path.is_dir() else [path]
    found = (_place(folder, part) for part in parts if not part.name.endswith(".lock"))
    return [place for place in found if place is not None]


def idle_places(folder: Path, before: float) -> list[Place]:
    """Return what no job uses any more, and what is made again when it is needed."""
    caches = set(idle_caches(folder / CACHE, before))
    return [place for place in places(folder) if place.path in caches or _is_idle(place, before)]


def clear(place: Place) -> bool:
    """Remove a place unless it has come into use, and return whether it is gone."""
    if place.path.parent.name == CACHE:
        return remove_cache(place.path)
    if place.path.is_dir() and not place.path.is_symlink():
        shutil.rmtree(place.path, ignore_errors=True)
    else:
        place.path.unlink(missing_ok=True)
    return not place.path.exists()


def _place(folder: Path, path: Path) -> Place | None:
    """Return what is at a path; None if it was removed just now."""
    name = str(path.relative_to(folder))
    try:
        own = path.lstat()
    except FileNotFoundError:
        return None
    is_cache = path.parent.name == CACHE and path.is_dir()
    files = list(_files(path)) if path.is_dir() else [own]
    # using a cache touches its folder; of anything else a job that writes shows in the newest file
    changed = own.st_mtime if is_cache else max(stat.st_mtime for stat in (own, *files))
    size = sum(stat.st_size for stat in files)
    return Place(path, name, len(files), size, changed, _what(name), is_cache and is_in_use(path))


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a job has just removed it
                yield (Path(parent) / name).lstat()


def _what(name: str) -> str:
    top = name.partition("/")[0]
    if top == CACHE:
        return "a feature cache, made again from the store"
    if any(fnmatch(name, pattern) for pattern in TEMPORARY):
        return "temporary files of a job"
    return COPIES.get(top, "")


def _is_idle(place: Place, before: float) -> bool:
    return not place.name.startswith(f"{CACHE}/") and bool(place.what) and place.changed < before
