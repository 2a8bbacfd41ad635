"""Unused features in the feature stores; what is in doubt stays."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from anomalyclip.data.manifest import named_sources
from anomalyclip.errors import UsageError
from anomalyclip.features.imported import PREFIX
from anomalyclip.features.sources import removed_sources
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.video_parts import FOLDER
from anomalyclip.housekeeping.garbage import is_old, names_of
from anomalyclip.housekeeping.inventory import Entry, newest
from anomalyclip.housekeeping.records import RunRecord
from anomalyclip.housekeeping.removal import Removal, whole_folder
from anomalyclip.storage import Storage, StoredFile

TABLES = ("index.parquet", "quarantine.parquet")


@dataclass(frozen=True)
class Named:
    """The features that runs and manifests use."""

    objects: Collection[str]
    """Keys."""
    sources: Collection[str]


def named_features(records: Sequence[RunRecord], sources: Collection[str]) -> Named:
    """Return what runs, their manifests as they are now, and further sources use.

    Raises UsageError if that is not known.
    """
    silent = [record.key for record in records if not record.says_features]
    if silent:
        raise UsageError(f"{names_of(silent)} may use any, as they do not say which they need")
    objects = {f"features/{record.fingerprint}/{each}.parquet" for record in records for each in record.objects}
    manifests = {Path(record.manifest) for record in records if record.manifest}
    return Named(objects, {*sources, *sources_of(path for path in manifests if path.is_file())})


def sources_of(manifests: Iterable[Path]) -> set[str]:
    """Return the videos of manifests; raises UsageError for one that cannot be read."""
    return {source for path in manifests for source in named_sources(path)}


def read_index(storage: Storage, entry: Entry) -> pl.DataFrame | None:
    """Return the index of a feature store; None if it was lost, so that objects are found by content alone."""
    try:
        return FeatureStore(storage, entry.name).listed_index(file.key for file in entry.files)
    except OSError:
        return None


def objects_of(entry: Entry) -> dict[str, StoredFile]:
    """Return the objects of a feature store by their key."""
    files = {file.key: file for file in entry.files if file.key.count("/") == 2 and file.key.endswith(".parquet")}
    return {key: file for key, file in files.items() if not key.endswith(tuple(f"/{name}" for name in TABLES))}


def stale_features(storage: Storage, entries: Iterable[Entry], named: Named, before: float) -> list[Removal]:
    """Return, for each store, the objects that no row of the index and no run uses.

    Rows whose video was deleted are removed too, unless a run uses its features, or a manifest the video.
    """
    found = (_stale(storage, entry, named, before) for entry in entries if entry.kind == "features" and entry.name)
    return [removal for removal in found if removal is not None]


def left_parts(entries: Iterable[Entry], before: float) -> list[Removal]:
    """Return the folders of long videos' parts that no job has added to since a time."""
    found: dict[str, list[StoredFile]] = {}
    for entry in entries:
        if entry.kind == "features":
            for file in entry.below(f"{entry.key}/{FOLDER}"):
                found.setdefault("/".join(file.key.split("/")[:4]), []).append(file)
    return [
        whole_folder(folder, files, "parts of a video whose extraction was not finished")
        for folder, files in found.items()
        if is_old(newest(files), before)
    ]


def _stale(storage: Storage, entry: Entry, named: Named, before: float) -> Removal | None:
    index = read_index(storage, entry)
    if index is None:
        return None
    objects = objects_of(entry)
    old = {key: file for key, file in objects.items() if is_old(file.changed, before)}
    forgotten = _without_video(entry, index, old, named, before)
    left = set(index.filter(~pl.col("video").is_in(forgotten))["object"])
    files = [file for key, file in old.items() if key not in left and key not in named.objects]
    if not files and not forgotten:
        return None
    parts = [f"{len(forgotten)} videos were deleted"] if forgotten else []
    orphans = sum(file.key not in set(index["object"]) for file in files)
    parts += [f"{orphans} objects that are not in the index"] if orphans else []
    return Removal(entry.key, ", ".join(parts), files, [file.key for file in files], forgotten)


def _without_video(entry: Entry, index: pl.DataFrame, old: Collection[str], named: Named, before: float) -> list[str]:
    """Return the videos of an index that are gone, and that nothing uses."""
    # an extraction would write the rows again that it has read; imported features may never have had videos
    others = newest(file for file in entry.files if not file.key.endswith("/index.parquet"))
    if entry.name.startswith(PREFIX) or not is_old(others, before):
        return []
    unnamed = index.filter(
        pl.col("object").is_in(list(old))
        & ~pl.col("object").is_in(list(named.objects))
        & ~pl.col("video").is_in(list(named.sources))
    )
    return sorted(removed_sources(unnamed["video"].to_list()))
