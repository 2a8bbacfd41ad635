"""The labels file of a published model: its class names in the order of their indices."""

import csv
from pathlib import Path

from anomalyclip.data.labels import NORMAL, is_normal
from anomalyclip.errors import UsageError

_HEADER = ["id", "name"]


def read_labels(path: Path) -> list[str]:
    """Return the class names of a labels file, `Normal` spelt so, in the order of their indices.

    The file is a CSV of `id,name` with ids from 0 on, or has one name per line. Byte order marks, Windows line ends and
    empty lines are accepted. Raises UsageError with every fault: ids out of order, names that are empty or doubled,
    not exactly one Normal.
    """
    rows = _rows(path)
    numbered = bool(rows) and [cell.casefold() for cell in rows[0]] == _HEADER
    names, faults = _numbered(rows[1:]) if numbered else _plain(rows)
    folded = [name.casefold().replace("_", " ") for name in names]
    doubled = sorted({name for name, key in zip(names, folded, strict=True) if folded.count(key) > 1})
    if doubled:
        faults.append(f"doubled: {', '.join(doubled)}")
    if not any(is_normal(name) for name in names):
        faults.append("no class is Normal")
    if len(names) < 2:
        faults.append(f"{len(names)} classes: Normal and at least one other are needed")
    if faults:
        raise UsageError(f"labels file {path}: {'; '.join(faults)}")
    return [NORMAL if is_normal(name) else name for name in names]


def _rows(path: Path) -> list[list[str]]:
    """Return the stripped cells of every line that is not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"labels file {path} cannot be read: {reason}") from None
    rows = ([cell.strip() for cell in row] for row in csv.reader(lines))
    return [row for row in rows if any(row)]


def _numbered(rows: list[list[str]]) -> tuple[list[str], list[str]]:
    """Return the names of `id,name` rows, and what is wrong with the rows."""
    faults = [f"row {row} is not an id and a name" for row in rows if len(row) != 2 or not all(row)]
    whole = [row for row in rows if len(row) == 2 and all(row)]
    ids = [row[0] for row in whole]
    if not faults and ids != [str(index) for index in range(len(whole))]:
        faults.append(f"ids must be 0 to {len(whole) - 1} in this order; they are {', '.join(ids)}")
    return [row[1] for row in whole], faults


def _plain(rows: list[list[str]]) -> tuple[list[str], list[str]]:
    """Return the names of lines with one name each, and what is wrong with the lines."""
    faults = [f"line {','.join(row)!r} is not one name (a table needs the header id,name)" for row in rows if row[1:]]
    return [row[0] for row in rows if len(row) == 1], faults
