"""What nobody needs any more of runs, checkpoints, uploads and backbones; what is in doubt stays."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from anomalyclip.errors import UsageError
from anomalyclip.housekeeping.inventory import Entry, newest
from anomalyclip.housekeeping.records import RunRecord, is_run, read_jsons
from anomalyclip.housekeeping.removal import Removal, run_folder, whole_folder
from anomalyclip.storage import COMPLETE, Storage
from anomalyclip.tracking.references import Tracked, Version

PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
EPOCH = re.compile(r"(.*/checkpoints/epoch-\d+)/[^/]+$")
PUBLISHED = ("model", "evaluation", "tables", "report")
"""Folders of a run that appear with their marker."""


def is_old(changed: float | None, before: float) -> bool:
    """Return whether nothing can be at work on what was changed last at a time; unknown times are never old."""
    return changed is not None and changed < before


def deleted_runs(storage: Storage, records: Iterable[RunRecord], tracked: Tracked, before: float) -> list[Removal]:
    """Return the folders whose runs in MLflow were all deleted, and came to no version of a model."""
    return [
        run_folder(record.entry, "its run in MLflow was deleted")
        for record in records
        if record.tracking_uri == tracked.uri
        and _is_free(record.mlflow_run, tracked)
        and is_old(record.entry.changed, before)
        and all(_is_free(inner, tracked) for inner in _runs_below(storage, record))
    ]


def spent_checkpoints(entries: Sequence[Entry]) -> list[Removal]:
    """Return the checkpoints of all that is finished, trials among them: nothing goes on from these.

    Only a search that is unfinished may take over those of a trial, for its winner.
    """
    searching = any(entry.kind == "searches" and f"{entry.key}/result.json" not in entry.keys for entry in entries)
    return [
        whole_folder(folder, files, "checkpoints of a finished run", [result])
        for entry in entries
        if is_run(entry) and not (searching and entry.kind == "trials")
        for result in entry.files
        if result.key.endswith("/result.json")
        if _has_outcome(entry, base := result.key.removesuffix("/result.json"))
        for folder in (f"{base}/checkpoints", f"{base}/final/checkpoints")
        if (files := entry.below(folder))
    ]


def idle_trials(entries: Sequence[Entry], before: float) -> list[Removal]:
    """Return the trials that no search names any more; none as long as a search is unfinished."""
    searches = [entry for entry in entries if entry.kind == "searches"]
    if any(f"{entry.key}/result.json" not in entry.keys for entry in searches):
        return []
    named = {Path(base).name for entry in searches for base in _bases(entry, "run.json") if base != entry.key}
    return [
        whole_folder(entry.key, entry.files, "no search names this trial")
        for entry in entries
        if entry.kind == "trials" and entry.name and entry.name not in named and is_old(entry.changed, before)
    ]


def torn_uploads(entries: Iterable[Entry], before: float) -> list[Removal]:
    """Return old files and folders whose upload broke off, where nothing else of the same thing is any newer."""
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
    """Return the backbones that no run and no version names, or none and the reason why that cannot be told."""
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
        return [], "backbones stay: jobs were at work lately, and may load them"
    here = {record.mlflow_run for record in records}
    try:
        of_versions = {backbone_of(each, tracked.uri) for each in tracked.versions if each.run_id not in here}
    except UsageError as error:
        return [], f"backbones stay: {error}"
    return [
        whole_folder(entry.key, entry.files, "no run and no model names it")
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
    """Return the MLflow runs of what lies in a run's folder, its trials."""
    own = f"{record.key}/mlflow.json"
    keys = [key for key in sorted(record.entry.keys) if key.endswith("/mlflow.json") and key != own]
    return [kept.get("run_id") for kept in read_jsons(storage, keys)]


def _bases(entry: Entry, name: str) -> list[str]:
    """Return the folders of an entry that hold a file of a name: the run itself and its trials."""
    return [key.removesuffix(f"/{name}") for key in sorted(entry.keys) if key.endswith(f"/{name}")]


def _has_outcome(entry: Entry, base: str) -> bool:
    """Return whether what training was for lies in the folder itself."""
    if base != entry.key or entry.kind not in ("runs", "pretraining"):
        return True
    if entry.kind == "runs":
        return f"{base}/model/{COMPLETE}" in entry.keys
    return any(key.endswith(".safetensors") and key.count("/") == 2 for key in entry.keys)


def _torn(entry: Entry, before: float) -> Iterator[Removal]:
    if not is_old(entry.changed, before) and entry.kind != "features":
        return  # it is at work, and its next upload replaces the torn one
    unfinished = [base for base in _bases(entry, "run.json") if f"{base}/result.json" not in entry.keys]
    folders = {f"{base}/{name}" for base in unfinished for name in PUBLISHED}
    folders |= {found[1] for key in entry.keys if (found := EPOCH.match(key))}
    folders |= {entry.key} if entry.kind == "backbones" else set()
    for folder in sorted(folders):
        files = entry.below(folder)
        if files and f"{folder}/{COMPLETE}" not in entry.keys:
            yield whole_folder(folder, files, "an upload that broke off")
    for file in entry.files:
        if PARTIAL.search(file.key) and is_old(file.changed, before):
            yield Removal(file.key, "an upload that broke off", [file], [file.key], witnesses=[file])


def _doubt(records: Sequence[RunRecord], tracked: Tracked) -> str | None:
    silent = [record.key for record in records if not record.says_backbone]
    if silent:
        return f"{names_of(silent)} may name any, as they do not say which they need"
    if elsewhere := sorted({r.tracking_uri for r in records if r.tracking_uri not in (None, tracked.uri)}):  # type: ignore[type-var]
        return f"runs were tracked at {names_of(elsewhere)} too, whose models may name them"  # type: ignore[arg-type]
    return None


def _signs_of_work(entries: Iterable[Entry]) -> Iterator[float | None]:
    """Give the times of extractions' files, and of unfinished runs'; an index is written by housekeeping too."""
    for entry in entries:
        if entry.kind == "features":
            yield newest(file for file in entry.files if not file.key.endswith("/index.parquet"))
        elif is_run(entry) and f"{entry.key}/result.json" not in entry.keys:
            yield entry.changed
