"""Report of housekeeping: rows for programs, and a table for people."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anomalyclip.evaluation.tables import aligned
from anomalyclip.housekeeping.feature_garbage import objects_of, read_index
from anomalyclip.housekeeping.garbage import names_of
from anomalyclip.housekeeping.inventory import Entry, size_of
from anomalyclip.housekeeping.records import RunRecord
from anomalyclip.housekeeping.removal import Removal
from anomalyclip.housekeeping.scratch_space import Place
from anomalyclip.runs import CHECKPOINTS, MODEL
from anomalyclip.storage import Storage
from anomalyclip.tracking.references import Tracked

Row = dict[str, Any]
SHOWN = 100
"""Lines of a table, the biggest first; the rows have all."""


def entry_row(
    storage: Storage,
    entry: Entry,
    records: Mapping[str, RunRecord],
    tracked: Tracked | None,
    manifests: Mapping[str, set[str]],
) -> Row:
    """Return what an entry of the storage root is, and what uses it: None if MLflow could not be asked."""
    own = records.get(entry.key)
    row, named = _sizes(entry.key, entry.files, entry.changed), list[str]()
    if entry.kind == "features" and entry.name:
        index = read_index(storage, entry)
        videos = set() if index is None else set(index["video"])
        row |= {"videos": len(videos), "objects": len(objects_of(entry))}
        named = [record.key for record in records.values() if record.fingerprint == entry.name]
        named += [path for path, sources in manifests.items() if sources & videos]
    elif entry.kind == "backbones":
        named = [record.key for record in records.values() if entry.name in record.backbones]
    elif own is not None:
        row |= _run_columns(own, tracked)
        named = [f"models:/{version}" for version in tracked.versions_of(own.mlflow_run)] if tracked else []
    return {**row, "what": _what(entry, row), "used_by": None if tracked is None else named}


def removal_row(removal: Removal) -> Row:
    """Return what is removed and why; `removed` names every file."""
    row = _sizes(removal.key, removal.files, removal.changed)
    return {**row, "what": removal.why, "removed": [file.key for file in removal.files]}


def place_row(place: Place) -> Row:
    """Return what lies in the scratch folder."""
    row = {"key": place.name, "bytes": place.size, "files": place.files, "changed": _iso(place.changed)}
    return {**row, "what": place.what + (", in use" if place.in_use else ""), "in_use": place.in_use}


def table(rows: Sequence[Row]) -> str:
    """Return rows as lines, the biggest first."""
    lines = [("name", "size", "files", "days", "what", "used by")]
    lines += [
        (row["key"], _readable(row["bytes"]), f"{row['files']:,}", _days(row["changed"]), row["what"], _by(row))
        for row in sorted(rows, key=lambda row: -row["bytes"])[:SHOWN]
    ]
    text = [aligned(lines, right=(1, 2, 3))]
    text += [f"  and {len(rows) - SHOWN} more, smaller ones"] if len(rows) > SHOWN else []
    return "\n".join([*text, f"  {_readable(sum(row['bytes'] for row in rows))} in all"])


def _sizes(key: str, files: Sequence[Any], changed: float | None) -> Row:
    return {"key": key, "bytes": size_of(files), "files": len(files), "changed": _iso(changed)}


def _run_columns(record: RunRecord, tracked: Tracked | None) -> Row:
    checkpoints = [file for file in record.entry.files if f"/{CHECKPOINTS}/" in file.key]
    models = [file for file in record.entry.files if f"/{MODEL}/" in file.key]
    deleted = None if tracked is None else record.mlflow_run in tracked.deleted
    return {
        "finished": record.finished,
        "checkpoint_bytes": size_of(checkpoints),
        "model_bytes": size_of(models),
        "mlflow_run": record.mlflow_run,
        "deleted_in_mlflow": deleted,
        "says_what_it_needs": record.says_features and record.says_backbone,
    }


def _what(entry: Entry, row: Row) -> str:
    if "objects" in row:
        return f"{row['videos']} videos, {row['objects']} objects"
    if "finished" not in row:
        return {"mlflow": "MLflow's database and artifacts", "benchmark": "the drawn benchmark"}.get(entry.kind, "")
    parts = ["finished" if row["finished"] else "unfinished"]
    parts += ["deleted in MLflow"] if row["deleted_in_mlflow"] else []
    parts += [f"{part} {_readable(row[f'{part}_bytes'])}" for part in ("checkpoint", "model") if row[f"{part}_bytes"]]
    return ", ".join(parts)


def _by(row: Row) -> str:
    if "used_by" not in row:
        return ""
    return "unknown" if row["used_by"] is None else names_of(row["used_by"]) or "nothing"


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _iso(changed: float | None) -> str | None:
    return None if changed is None else datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")


def _days(changed: str | None) -> str:
    if changed is None:
        return "?"
    return f"{(time.time() - datetime.fromisoformat(changed).timestamp()) / 86_400:.1f}"
