"""Inventory: the files of a storage root, grouped by what they belong to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from anomalyclip.runs import CONTENT, RunKind
from anomalyclip.storage import StoredFile

BY_NAME = ("features", "backbones", *RunKind)
"""Folders of the root with one folder per thing."""


@dataclass(frozen=True)
class Entry:
    """One thing of the root: a feature store, a backbone, a run, or a whole folder such as `mlflow`."""

    key: str
    files: Sequence[StoredFile]

    @property
    def kind(self) -> str:
        """Name of the folder of the root that it is in."""
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        """Its own name in that folder."""
        return self.key.partition("/")[2]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of its files."""
        return frozenset(file.key for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return size_of(self.files)

    @cached_property
    def changed(self) -> float | None:
        """Time of its newest file."""
        return newest(self.files)

    def below(self, folder: str) -> list[StoredFile]:
        """Return its files below a folder, which is a whole key."""
        return [file for file in self.files if file.key.startswith(f"{folder}/")]


def size_of(files: Iterable[StoredFile]) -> int:
    """Return the bytes of files."""
    return sum(file.size for file in files)


def newest(files: Iterable[StoredFile]) -> float | None:
    """Return when the newest of some files was changed; None if that is not known of each, or there are none."""
    times = [file.changed for file in files]
    return max((time for time in times if time is not None), default=None) if None not in times else None


def gather(files: Iterable[StoredFile]) -> list[Entry]:
    """Return what the files of a root make up, by key; each folder that is not ours is one entry."""
    files = list(files)
    runs = {_head(file.key) for file in files if file.key.count("/") == 2 and file.key.endswith(f"/{CONTENT}")}
    entries: dict[str, list[StoredFile]] = {}
    for file in files:
        top, _, rest = file.key.partition("/")
        named = "/" in rest and (top in BY_NAME or _head(file.key) in runs)
        entries.setdefault(_head(file.key) if named else top, []).append(file)
    return [Entry(key, tuple(files)) for key, files in sorted(entries.items())]


def _head(key: str) -> str:
    return "/".join(key.split("/")[:2])
