"""Housekeeping: what the storage root and the scratch folder hold, and the removal of what is unused."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyclip.errors import UsageError
from anomalyclip.housekeeping.feature_garbage import left_parts, named_features, sources_of, stale_features
from anomalyclip.housekeeping.garbage import (
    deleted_runs,
    idle_backbones,
    idle_trials,
    spent_checkpoints,
    torn_uploads,
    without,
)
from anomalyclip.housekeeping.inventory import Entry, gather
from anomalyclip.housekeeping.records import RunRecord, read_records
from anomalyclip.housekeeping.removal import Removal, apply_removal
from anomalyclip.housekeeping.report import entry_row, place_row, removal_row, table
from anomalyclip.housekeeping.scratch_space import Place, clear, idle_places, places
from anomalyclip.job import Job
from anomalyclip.storage import scratch
from anomalyclip.tracking.references import Tracked, backbone_of, tracked_state

log = logging.getLogger("anomalyclip")

DAY = 86_400.0


@dataclass(frozen=True)
class Holdings:
    """Contents of a storage root, and the needs of its runs."""

    entries: Sequence[Entry]
    records: Sequence[RunRecord]


@dataclass(frozen=True)
class Garbage:
    """Entries to remove, and the reasons why others that may be unused stay."""

    removals: Sequence[Removal]
    places: Sequence[Place]
    doubts: Sequence[str]


def take_stock(job: Job) -> Holdings:
    """List the storage root, and read what its runs need; raises UsageError if there is no such root."""
    entries = gather(job.storage.files())
    if not entries and not job.storage.exists(""):
        raise UsageError(f"there is no storage root {job.storage.root}")
    return Holdings(entries, read_records(job.storage, entries))


def show(job: Job, manifests: Sequence[Path]) -> dict[str, Any]:
    """Log and return the contents of the storage root and the scratch folder, with size and use."""
    named = {str(path): sources_of([path]) for path in manifests}
    holdings, tracked = take_stock(job), None
    try:
        tracked = tracked_state(job.tracking_uri)
    except UsageError as error:
        log.warning("what uses what is unknown: %s", error)
    records = {record.key: record for record in holdings.records}
    rows = [entry_row(job.storage, entry, records, tracked, named) for entry in holdings.entries]
    local = [place_row(place) for place in places(scratch())]
    log.info("storage root %s:\n\n%s\n", job.storage.root, table(rows))
    log.info("scratch folder %s:\n\n%s\n", scratch(), table(local))
    return {
        "storage": job.storage.root,
        "bytes": sum(row["bytes"] for row in rows),
        "uses_known": tracked is not None,
        "entries": rows,
        "scratch": {"folder": str(scratch()), "bytes": sum(row["bytes"] for row in local), "entries": local},
    }


def collect(job: Job, manifests: Sequence[Path], days: float, dry_run: bool) -> dict[str, Any]:
    """Remove what is unused, or only log it; returns the same.

    Raises UsageError if MLflow does not answer: what its models need must not be guessed.
    """
    if days < 1:
        raise UsageError(f"--older-than {days:g}: a job may be using what was changed within a day")
    sources, tracked = sources_of(manifests), tracked_state(job.tracking_uri)
    garbage = find_garbage(job, tracked, sources, time.time() - days * DAY)
    removed, cleared = garbage.removals, garbage.places
    if not dry_run:
        removed = [gone for removal in removed if (gone := apply_removal(job.storage, removal)) is not None]
        cleared = [place for place in cleared if clear(place)]
    rows = [removal_row(removal) for removal in removed]
    local = [place_row(place) for place in cleared]
    log.info("%s:\n\n%s\n", "would be removed" if dry_run else "removed", table([*rows, *local]))
    for doubt in garbage.doubts:
        log.warning("%s", doubt)
    return {
        "storage": job.storage.root,
        "dry_run": dry_run,
        "bytes": sum(row["bytes"] for row in [*rows, *local]),
        "removed": rows,
        "removed_from_scratch": local,
        "doubts": list(garbage.doubts),
    }


def find_garbage(job: Job, tracked: Tracked, sources: set[str], before: float) -> Garbage:
    """Return what no run, no version of a model and no manifest uses, and has not changed since a time.

    Runs that are removed use nothing any more, so that a second call finds nothing.
    """
    storage, holdings, doubts = job.storage, take_stock(job), list[str]()
    removals = deleted_runs(storage, holdings.records, tracked, before)
    going = {removal.key for removal in removals}
    removals += idle_trials(storage, without(holdings.entries, going), before)
    going = {removal.key for removal in removals}
    entries = without(holdings.entries, going)
    records = [record for record in holdings.records if record.key not in going]
    removals += spent_checkpoints(entries)
    removals += left_parts(entries, before)
    removals += torn_uploads(entries, before)
    backbones, doubt = idle_backbones(entries, records, tracked, before, backbone_of)
    removals += backbones
    doubts += [doubt] if doubt else []
    with _doubted(doubts, "features stay"):
        removals += stale_features(storage, entries, named_features(records, sources), before)
    return Garbage(_distinct(removals), idle_places(scratch(), before), doubts)


def _distinct(removals: Sequence[Removal]) -> list[Removal]:
    """Leave out entries inside an earlier one, which are removed with it."""
    covered, kept = set[str](), list[Removal]()
    for removal in removals:
        if removal.forgotten or not covered.issuperset(file.key for file in removal.files):
            kept.append(removal)
            covered.update(file.key for file in removal.files)
    return kept


@contextmanager
def _doubted(doubts: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        doubts.append(f"{what}: {' '.join(str(error).split())}")
