"""Unused runs, checkpoints, uploads and backbones; what is in doubt stays."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.housekeeping.inventory import Entry, newest
from anomalyclip.housekeeping.records import RunRecord, is_run, read_jsons
from anomalyclip.housekeeping.removal import Removal, run_folder, whole_folder
from anomalyclip.runs import (
    CHECKPOINTS,
    CONTENT,
    EVALUATION,
    FINAL,
    MODEL,
    REPORT,
    RESULT,
    TABLES,
    TRIALS_TABLE,
    RunKind,
)
from anomalyclip.storage import COMPLETE, Storage
from anomalyclip.tracking.references import Tracked, Version

PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
EPOCH = re.compile(rf"(.*/{CHECKPOINTS}/epoch-\d+)/[^/]+$")
PUBLISHED = (MODEL, EVALUATION, *(baseline.folder for baseline in BASELINES.values()), TABLES, REPORT)
"""Folders of a run that appear with their marker."""


def is_old(changed: float | None, before: float) -> bool:
    """Return whether something last changed before a time, so that no job uses it; unknown times are not old."""
    return changed is not None and changed < before


def deleted_runs(storage: Storage, records: Iterable[RunRecord], tracked: Tracked, before: float) -> list[Removal]:
    """Return the folders whose runs in MLflow were all deleted, and gave no version of a model."""
    return [
        run_folder(record.entry, "its run in MLflow was deleted")
        for record in records
        if record.tracking_uri == tracked.uri
        and _is_free(record.mlflow_run, tracked)
        and is_old(record.entry.changed, before)
        and all(_is_free(inner, tracked) for inner in _runs_below(storage, record))
    ]


def spent_checkpoints(entries: Sequence[Entry]) -> list[Removal]:
    """Return the checkpoints of all that is finished, trials included: nothing resumes from these.

    Only an unfinished search may use those of a trial, for its winner.
    """
    searching = any(entry.kind == RunKind.SEARCH and f"{entry.key}/{RESULT}" not in entry.keys for entry in entries)
    return [
        whole_folder(folder, files, "checkpoints of a finished run", [result])
        for entry in entries
        if is_run(entry) and not (searching and entry.kind == RunKind.TRIAL)
        for result in entry.files
        if result.key.endswith(f"/{RESULT}")
        if _has_outcome(entry, base := result.key.removesuffix(f"/{RESULT}"))
        for folder in (f"{base}/{CHECKPOINTS}", f"{base}/{FINAL}/{CHECKPOINTS}")
        if (files := entry.below(folder))
    ]


def idle_trials(storage: Storage, entries: Sequence[Entry], before: float) -> list[Removal]:
    """Return the trials that no search uses; none as long as a search is unfinished or its table damaged."""
    searches = [entry for entry in entries if entry.kind == RunKind.SEARCH]
    if any(f"{entry.key}/{RESULT}" not in entry.keys for entry in searches):
        return []
    tables = _trial_tables(storage, searches)
    if not all(tables):
        return []
    named = {name for table in tables for name in table}
    return [
        whole_folder(entry.key, entry.files, "no search uses this trial")
        for entry in entries
        if entry.kind == RunKind.TRIAL and entry.name and entry.name not in named and is_old(entry.changed, before)
    ]


def torn_uploads(entries: Iterable[Entry], before: float) -> list[Removal]:
    """Return old files and folders whose upload was interrupted, if nothing else of the same thing is newer."""
    return [
        removal
        for entry in entries
        if (entry.kind == "backbones" or is_run(entry) or entry.kind == "features")
        for removal in _torn(entry, before)
    ]


def idle_backbones(
    entries: Iterable[Entry],
    records: Sequence[RunRecord],
    tracked: Tracked,
    before: float,
    backbone_of: Callable[[Version, str], str | None],
) -> tuple[list[Removal], str | None]:
    """Return the backbones that no run and no version uses, or none and the reason why that is not known."""
    named = {identity for record in records for identity in record.backbones}
    found = [
        entry for entry in entries
        if entry.kind == "backbones" and entry.name and entry.name not in named and is_old(entry.changed, before)
    ]  # fmt: skip
    if not found:
        return [], None
    if doubt := _doubt(records, tracked):
        return [], f"backbones stay: {doubt}"
    if any(not is_old(changed, before) for changed in _signs_of_work(entries)):
        return [], "backbones stay: jobs ran recently, and may load them"
    here = {record.mlflow_run for record in records}
    try:
        of_versions = {backbone_of(each, tracked.uri) for each in tracked.versions if each.run_id not in here}
    except UsageError as error:
        return [], f"backbones stay: {error}"
    return [
        whole_folder(entry.key, entry.files, "no run and no model uses it")
        for entry in found
        if entry.name not in of_versions and f"{entry.key}/{COMPLETE}" in entry.keys
    ], None


def without(entries: Iterable[Entry], removed: Collection[str]) -> list[Entry]:
    """Return the entries that stay as wholes."""
    return [entry for entry in entries if entry.key not in removed]


def names_of(keys: Sequence[str]) -> str:
    """Return the first few of many names."""
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _is_free(mlflow_run: str | None, tracked: Tracked) -> bool:
    return mlflow_run in tracked.deleted and not tracked.versions_of(mlflow_run)


def _runs_below(storage: Storage, record: RunRecord) -> list[str | None]:
    """Return the MLflow runs of a run's trials; None among them if their table is damaged."""
    tables = _trial_tables(storage, [record.entry])
    return [row.get("run_id") for table in tables for row in table.values() or [{}]]


def _trial_tables(storage: Storage, entries: Iterable[Entry]) -> list[Any]:
    """Return the tables of trials of those entries that have one; {} for a damaged one."""
    keys = [key for entry in entries if (key := f"{entry.key}/{TRIALS_TABLE}") in entry.keys]
    return read_jsons(storage, keys)


def _bases(entry: Entry, name: str) -> list[str]:
    """Return the folders of an entry that hold a file of a name: the run itself and its trials."""
    return [key.removesuffix(f"/{name}") for key in sorted(entry.keys) if key.endswith(f"/{name}")]


def _has_outcome(entry: Entry, base: str) -> bool:
    """Return whether the result of the training is in the folder itself."""
    if base != entry.key or entry.kind not in (RunKind.TRAINING, RunKind.PRETRAINING):
        return True
    if entry.kind == RunKind.TRAINING:
        return f"{base}/{MODEL}/{COMPLETE}" in entry.keys
    return any(key.endswith(".safetensors") and key.count("/") == 2 for key in entry.keys)


def _torn(entry: Entry, before: float) -> Iterator[Removal]:
    if not is_old(entry.changed, before) and entry.kind != "features":
        return  # it is in use, and its next upload replaces the interrupted one
    unfinished = [base for base in _bases(entry, CONTENT) if f"{base}/{RESULT}" not in entry.keys]
    folders = {f"{base}/{name}" for base in unfinished for name in PUBLISHED}
    folders |= {found[1] for key in entry.keys if (found := EPOCH.match(key))}
    folders |= {entry.key} if entry.kind == "backbones" else set()
    for folder in sorted(folders):
        files = entry.below(folder)
        if files and f"{folder}/{COMPLETE}" not in entry.keys:
            yield whole_folder(folder, files, "an interrupted upload")
    for file in entry.files:
        if PARTIAL.search(file.key) and is_old(file.changed, before):
            yield Removal(file.key, "an interrupted upload", [file], [file.key], witnesses=[file])


def _doubt(records: Sequence[RunRecord], tracked: Tracked) -> str | None:
    silent = [record.key for record in records if not record.says_backbone]
    if silent:
        return f"{names_of(silent)} may use any, as they do not say which they need"
    if elsewhere := sorted({r.tracking_uri for r in records if r.tracking_uri not in (None, tracked.uri)}):  # type: ignore[type-var]
        return f"runs were tracked at {names_of(elsewhere)} too, whose models may use them"  # type: ignore[arg-type]
    return None


def _signs_of_work(entries: Iterable[Entry]) -> Iterator[float | None]:
    """Give the times of extractions' files, and of unfinished runs'; an index is written by housekeeping too."""
    for entry in entries:
        if entry.kind == "features":
            yield newest(file for file in entry.files if not file.key.endswith("/index.parquet"))
        elif is_run(entry) and f"{entry.key}/{RESULT}" not in entry.keys:
            yield entry.changed
