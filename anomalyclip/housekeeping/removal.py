"""Removal: what is removed, why, and in an order that leaves nothing broken if it is interrupted."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from anomalyclip.features.store import FeatureStore
from anomalyclip.housekeeping.inventory import Entry, newest, size_of
from anomalyclip.runs import MLFLOW, RESULT
from anomalyclip.storage import COMPLETE, Storage, StoredFile


@dataclass(frozen=True)
class Removal:
    """Something unused in the storage root."""

    key: str
    """What it is, or is part of."""
    why: str
    files: Sequence[StoredFile]
    """All that is removed."""
    steps: Sequence[str]
    """Keys of files and folders to delete, one after the other."""
    forgotten: Sequence[str] = ()
    """Sources that leave the index of a feature store before anything is deleted."""
    witnesses: Sequence[StoredFile] = ()
    """Nothing is removed unless these files are unchanged: a job that started meanwhile has others."""

    @property
    def size(self) -> int:
        """Bytes of what is removed."""
        return size_of(self.files)

    @property
    def changed(self) -> float | None:
        """Time of its newest file."""
        return newest(self.files)


def whole_folder(
    folder: str, files: Sequence[StoredFile], why: str, witnesses: Sequence[StoredFile] | None = None
) -> Removal:
    """Remove a folder, whose own files are the witnesses if no others are given.

    The markers of its parts are removed first, so that no part that is left looks whole.
    """
    markers = [file.key for file in files if file.key.endswith(f"/{COMPLETE}")]
    return Removal(folder, why, files, [*markers, folder], witnesses=files if witnesses is None else witnesses)


def run_folder(entry: Entry, why: str) -> Removal:
    """Remove a run: first what makes it look finished, last what marks it for removal."""
    last = f"{entry.key}/{MLFLOW}"
    markers = [file.key for file in entry.files if file.key.endswith(f"/{COMPLETE}")]
    below = len(entry.key) + 1
    parts = {f"{entry.key}/{file.key[below:].partition('/')[0]}" for file in entry.files} - {last}
    steps = [f"{entry.key}/{RESULT}", *markers, *sorted(parts), last, entry.key]
    witnesses = [file for file in entry.files if file.key == last]
    return Removal(entry.key, why, entry.files, list(dict.fromkeys(steps)), witnesses=witnesses)


def apply_removal(storage: Storage, removal: Removal) -> Removal | None:
    """Remove it, and return what was removed, None if something has changed; what is gone already is no error."""
    if not all(_is_unchanged(file, storage.stat(file.key)) for file in removal.witnesses):
        return None
    if removal.key.startswith("features/"):
        removal = _unnamed(storage, removal)
    for key in removal.steps:
        with suppress(FileNotFoundError):  # a job has just removed it itself
            storage.delete(key)
    return removal


def _is_unchanged(before: StoredFile, now: StoredFile | None) -> bool:
    """Return whether a file is the same; some stores tell its time to the second only, when asked for it alone."""
    if now is None or before.size != now.size:
        return False
    return before.changed is None or now.changed is None or abs(before.changed - now.changed) < 1


def _unnamed(storage: Storage, removal: Removal) -> Removal:
    """Take rows out of the index; return what is left to remove, not an object that a row written just now names."""
    store = FeatureStore(storage, removal.key.split("/")[1])
    if removal.forgotten:
        store.remove_sources(removal.forgotten)
    named = set(store.index()["object"])
    files = [file for file in removal.files if file.key not in named]
    return replace(removal, files=files, steps=[key for key in removal.steps if key not in named])
