"""What a storage root holds, in a form in which a broken and an unbroken run can be compared."""

import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file

IDENTIFIER = re.compile(r"[0-9a-f]{32}")
UNCOUNTED = re.compile(r"/artifacts/promotion/|^mlflow/mlflow\.db")
"""A judgement may leave its figures without a decision, if it died in between; SQLite's own files."""
PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")
QUERIES = {
    "runs": "SELECT name, status, lifecycle_stage FROM runs",
    "metrics": "SELECT runs.name, key, step FROM metrics JOIN runs USING (run_uuid) WHERE key NOT LIKE 'system/%'",
    "versions": "SELECT name, version, status FROM model_versions",
    "aliases": "SELECT name, alias, version FROM registered_model_aliases",
    "models": "SELECT name, status, lifecycle_stage FROM logged_models",
    "registered": "SELECT name FROM registered_models",  # each open lock of a promotion is one
    "decisions": "SELECT name, json_extract(value, '$.decision'), json_extract(value, '$.version') "
    "FROM registered_model_tags WHERE key LIKE 'promotion.0%' AND json_extract(value, '$.decision') != 'undone'",
}
"""What must be in MLflow once and no more."""


@dataclass(frozen=True)
class State:
    """Files by name, tables and weights by content, and the records of MLflow."""

    files: Counter[str]
    """Names, with the identifiers that MLflow draws replaced; files that a killed process could not finish are not
    among them: nothing reads these names."""
    arrays: dict[str, dict[str, Any]]
    records: dict[str, Counter[tuple[Any, ...]]]


def read_state(root: Path) -> State:
    """Read a storage root."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not PARTIAL.search(path.name))
    arrays = {key: _arrays(path) for path in paths if (key := _content_key(root, path)) is not None}
    names = (_name(root, path) for path in paths)
    return State(Counter(name for name in names if not UNCOUNTED.search(name)), arrays, _records(root))


def differences(found: State, expected: State, tolerance: float) -> list[str]:
    """Return in what a state differs from the expected one, a line each."""
    said = _counted("file", found.files, expected.files)
    for table in expected.records:
        said += _counted(table, found.records.get(table, Counter()), expected.records[table])
    for key, columns in expected.arrays.items():
        if key in found.arrays:
            said += [f"{key}: {fault}" for fault in _unequal(found.arrays[key], columns, tolerance)]
    return said


def _name(root: Path, path: Path) -> str:
    name = str(path.relative_to(root))
    return IDENTIFIER.sub("ID", name) if name.startswith("mlflow/") else name


def _content_key(root: Path, path: Path) -> str | None:
    """Name of a file whose content is compared: weights, features, predictions and events."""
    name = str(path.relative_to(root))
    if name.startswith("mlflow/") or path.suffix not in (".safetensors", ".parquet"):
        return None
    return name


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    if path.name == "index.parquet":
        table = pl.read_parquet(path, columns=["video", "hash", "num_frames"]).sort("video")
        return {"rows": table.rows()}
    table = pl.read_parquet(path)
    numbers = [name for name, kind in table.schema.items() if kind.is_float()]
    return {**{name: table[name].to_numpy() for name in numbers}, "rows": table.drop(numbers).rows()}


def _unequal(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> list[str]:
    if found.keys() != expected.keys():
        return [f"holds {sorted(found)} instead of {sorted(expected)}"]
    return [f"{key} differs" for key, value in expected.items() if not _equal(found[key], value, tolerance)]


def _equal(found: Any, expected: Any, tolerance: float) -> bool:
    if not isinstance(expected, np.ndarray) or tolerance == 0:
        return found.tobytes() == expected.tobytes() if isinstance(expected, np.ndarray) else bool(found == expected)
    difference = np.linalg.norm(np.nan_to_num(found - expected))
    return found.shape == expected.shape and bool(difference <= tolerance * np.linalg.norm(np.nan_to_num(expected)))


def _records(root: Path) -> dict[str, Counter[tuple[Any, ...]]]:
    database = root / "mlflow" / "mlflow.db"
    if not database.exists():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        return {table: Counter(connection.execute(query).fetchall()) for table, query in QUERIES.items()}


def _counted(kind: str, found: Counter[Any], expected: Counter[Any]) -> list[str]:
    more = [f"{kind} too many: {item} ({count})" for item, count in sorted((found - expected).items())]
    return more + [f"{kind} missing: {item} ({count})" for item, count in sorted((expected - found).items())]
