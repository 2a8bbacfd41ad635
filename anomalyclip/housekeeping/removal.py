"""What is to go, why, and how: in an order that leaves nothing broken wherever it is cut off."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from anomalyclip.features.store import FeatureStore
from anomalyclip.housekeeping.inventory import Entry, newest, size_of
from anomalyclip.storage import COMPLETE, Storage, StoredFile


@dataclass(frozen=True)
class Removal:
    """Something of the storage root that nobody needs."""

    key: str
    """What it is, or is part of."""
    why: str
    files: Sequence[StoredFile]
    """All that goes."""
    steps: Sequence[str]
    """Keys of files and folders to delete, one after the other."""
    forgotten: Sequence[str] = ()
    """Sources that leave the index of a feature store before anything is deleted."""
    witness: StoredFile | None = None
    """Nothing goes unless this file is still what it was: a run started anew meanwhile has another."""

    @property
    def size(self) -> int:
        """Bytes of what goes."""
        return size_of(self.files)

    @property
    def changed(self) -> float | None:
        """Time of its newest file."""
        return newest(self.files)


def whole_folder(folder: str, files: Sequence[StoredFile], why: str, witness: StoredFile | None = None) -> Removal:
    """Remove a folder; the markers of its parts go first, so that none that is left looks whole."""
    markers = [file.key for file in files if file.key.endswith(f"/{COMPLETE}")]
    return Removal(folder, why, files, [*markers, folder], witness=witness)


def run_folder(entry: Entry, why: str) -> Removal:
    """Remove a run: first what makes it look finished, last what says that it is to go."""
    last = f"{entry.key}/mlflow.json"
    markers = [file.key for file in entry.files if file.key.endswith(f"/{COMPLETE}")]
    below = len(entry.key) + 1
    parts = {f"{entry.key}/{file.key[below:].partition('/')[0]}" for file in entry.files} - {last}
    steps = [f"{entry.key}/result.json", *markers, *sorted(parts), last, entry.key]
    witness = next(file for file in entry.files if file.key == last)
    return Removal(entry.key, why, entry.files, list(dict.fromkeys(steps)), witness=witness)


def carry_out(storage: Storage, removal: Removal) -> bool:
    """Remove it, and return whether that was still right; what is gone already is no error."""
    if removal.witness is not None and not _is_unchanged(removal.witness, storage.stat(removal.witness.key)):
        return False
    steps = removal.steps
    if removal.key.startswith("features/"):
        steps = _unnamed(storage, removal)
    for key in steps:
        with suppress(FileNotFoundError):  # a job has just removed it itself
            storage.delete(key)
    return True


def _is_unchanged(before: StoredFile, now: StoredFile | None) -> bool:
    """Return whether a file is the same; some stores tell its time to the second only, when asked for it alone."""
    if now is None or before.size != now.size:
        return False
    return before.changed is None or now.changed is None or abs(before.changed - now.changed) < 1


def _unnamed(storage: Storage, removal: Removal) -> list[str]:
    """Take rows out of the index, and return the objects that no row names then, not even one written just now."""
    store = FeatureStore(storage, removal.key.split("/")[1])
    if removal.forgotten:
        store.forget(removal.forgotten)
    named = set(store.index()["object"])
    return [key for key in removal.steps if key not in named]
