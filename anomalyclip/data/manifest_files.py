"""Manifest files: Parquet with the schema's types, or CSV.

In CSV, labels are joined by `|` and anomalies by `;`. An anomaly is `start-end` or `all`, the whole video, and may end
in `:label|label`.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from anomalyclip.data.schema import OPTIONAL, SCHEMA, Anomaly, span
from anomalyclip.errors import UsageError

MOST_COLUMNS = 100
"""A table with more is another one, and would take minutes to compare with the schema."""
UNREADABLE = (csv.Error, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
"""What readers of CSV and Parquet raise for files that are neither."""
INTERVAL = re.compile(r"\s*(?:all|(-?\d{1,18})\s*-\s*(-?\d{1,18}))\s*(?::(.*))?", re.DOTALL | re.IGNORECASE)
# pandas writes the integers of a column that has gaps as 258.0
FRAMES = re.compile(r"\s*(-?\d{1,18})(?:\.0*)?\s*")


ROWS_AT_ONCE = 2**16
"""Rows of a CSV file that are Python's at a time."""


class RawManifest(NamedTuple):
    """Unchecked content of a manifest's file."""

    columns: list[str]
    """All names, also unknown and doubled ones."""
    table: pl.DataFrame
    """The cells of the known columns, text from CSV; of a doubled column the last."""
    lines: list[int]
    """Line of a CSV file at which each row ends; none for Parquet."""
    crowded: frozenset[int]
    """Rows (from 0) with more cells than columns."""
    faults: list[str]

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.lines) or self.table.height

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) for messages."""
        return f" (line {self.lines[row]})" if self.lines else ""

    def cells(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the cells of some rows (from 0) by the names of their columns."""
        return self.table[rows].to_arrow().to_pylist() if self.table.width else [{} for _ in rows]


def suffix_of(path: Path) -> str:
    """`.csv` or `.parquet`; UsageError for another name."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"manifest {path}: its name must end in .csv or .parquet")
    return suffix


def read_columns(path: Path) -> list[str]:
    """Return the column names of a manifest's file without reading its rows; raises UsageError as `read_raw`."""
    with _readable(path):
        if suffix_of(path) == ".parquet":
            return _few(path, list(pl.read_parquet_schema(path)))
        with _open_csv(path) as reader:
            return _few(path, _header(reader))


def read_raw(path: Path) -> RawManifest:
    """Read a manifest's file by its suffix; raises UsageError if it is missing or not such a file at all."""
    read_columns(path)
    with _readable(path):
        return _read_csv(path) if suffix_of(path) == ".csv" else _read_parquet(path)


def _few(path: Path, columns: list[str]) -> list[str]:
    if len(columns) > MOST_COLUMNS:
        raise UsageError(f"manifest {path} has {len(columns)} columns: it is no manifest ({', '.join(SCHEMA)})")
    return columns


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise UsageError for a file that is missing or cannot be read."""
    try:
        if not path.is_file():  # raises PermissionError in a folder that this user may not enter
            found = "is a folder" if path.is_dir() else "is missing"
            raise UsageError(f"manifest {path} {found}: give the path of a .csv or .parquet file")
        yield
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"manifest {path} cannot be read as {path.suffix[1:]} (UTF-8): {reason}") from error


@contextmanager
def _open_csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield csv.reader(file)


def _header(reader: Any) -> list[str]:
    return next(reader, [])


def _read_csv(path: Path) -> RawManifest:
    with _open_csv(path) as reader:
        columns = _header(reader)
        known = {name: place for place, name in enumerate(columns) if name in SCHEMA or name in OPTIONAL}
        nameless = [place for place, name in enumerate(columns) if not name][-1:]
        parts, lines, crowded = [pl.DataFrame(schema=dict.fromkeys(known, pl.String()))], list[int](), list[int]()
        numbered = ((row, reader.line_num) for row in reader if row)
        while part := list(islice(numbered, ROWS_AT_ONCE)):
            for number, (row, _) in enumerate(part, start=len(lines)):
                if len(row) != len(columns) or nameless:
                    row += [""] * (len(columns) - len(row))
                    crowded += [number] if len(row) > len(columns) or any(row[place] for place in nameless) else []
            lines += [line for _, line in part]
            parts.append(_columns(known, [row for row, _ in part]))
    return RawManifest(columns, pl.concat(parts), lines, frozenset(crowded), [])


def _columns(places: dict[str, int], rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    return pl.DataFrame({name: [row[place] for row in rows] for name, place in places.items()})


def _read_parquet(path: Path) -> RawManifest:
    table = pl.read_parquet(path, use_pyarrow=True)  # Polars' own reader panics on damaged pages
    readable, faults = [], []
    for name, dtype in {**SCHEMA, **OPTIONAL}.items():
        try:
            readable += [table[name].cast(dtype)] if name in table.columns else []
        except pl.exceptions.PolarsError:
            faults.append(f"column {name!r} has type {table[name].dtype}, not {dtype}")
    return RawManifest(table.columns, pl.DataFrame(readable), [], frozenset(), faults)


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write typed rows of the schema's columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEMA)
        for row in rows:
            row |= {"labels": _join(row["labels"] or []), "anomalies": _format_anomalies(row["anomalies"] or [])}
            writer.writerow(row[name] for name in SCHEMA)


def typed(column: str, cell: Any) -> Any:
    """A cell in the schema's type, nulls as empty lists and texts; ValueError when it cannot be read."""
    if column == "labels":
        return _labels(cell)
    if column == "anomalies":
        parts = cell.strip().split(";") if isinstance(cell, str) else cell or []
        return [] if parts == [""] else [_interval(part) for part in parts]
    if column == "num_frames":
        return _frames(cell) if isinstance(cell, str) else cell
    return _started(cell) if column == "started" else cell or ""


def _started(cell: str | None) -> str | None:
    try:
        return datetime.fromisoformat(cell.strip()).isoformat() if cell and cell.strip() else None
    except ValueError:
        raise ValueError(f"cannot read started {cell!r}: write a time as 2026-11-22T10:00:00+01:00") from None


def _labels(cell: str | list[str | None] | None) -> list[str]:
    if not isinstance(cell, str):
        return [label or "" for label in cell or []]
    return [part.strip() for part in cell.split("|")] if cell.strip() else []


def _interval(part: Any) -> Anomaly:
    if not isinstance(part, str):
        if part is None or part["start"] is None or (part["end"] is None and part["start"] != 0):
            raise ValueError("an interval has no start or no end (the whole video starts at 0 and has a null end)")
        return Anomaly(start=part["start"], end=part["end"], labels=_labels(part["labels"]))
    match = INTERVAL.fullmatch(part)
    if match is None:
        raise ValueError(
            f"cannot read interval {part!r}: write start-end, or all for the whole video, "
            "with :label|label after it where needed, joined by ';'"
        )
    start, end, labels = match.groups()
    return Anomaly(start=int(start or 0), end=int(end) if end else None, labels=_labels(labels))


def _frames(cell: str) -> int | None:
    match = FRAMES.fullmatch(cell)
    if match is None and cell.strip():
        raise ValueError(f"cannot read num_frames {cell!r}: write a whole number or leave it empty")
    return int(match.group(1)) if match else None


def _format_anomalies(anomalies: Sequence[Anomaly]) -> str:
    return ";".join(span(i) + (f":{_join(i['labels'])}" if i["labels"] else "") for i in anomalies)


def _join(labels: Sequence[str]) -> str:
    for label in labels:
        if set(label) & set("|;:"):
            raise UsageError(f"label {label!r} holds one of | ; : and cannot be written to CSV")
    return "|".join(labels)
