"""What has been done, a file per case, and the table of it."""

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Row:
    """The outcome of one case."""

    kind: str
    """Kill, fault, hostile or fuzz."""
    stage: str
    what: str
    """Who was killed, or what was broken."""
    case: str
    done: bool
    """Whether it was broken at all: a command may have ended before."""
    faults: list[str]
    """In what the end differs from that of an unbroken command."""
    note: str = ""
    seconds: float = 0.0
    when: str = ""
    killed: list[str] = field(default_factory=list)
    """The roles that were killed one after the other; empty in rows from before kills came in a row."""

    @property
    def broken(self) -> list[str]:
        """What was broken, in this order; empty if all of it came too late."""
        return (self.killed or [self.what]) if self.done else []


class Ledger:
    """A folder of rows; a case that ended well is not done again. One that came too late to break anything is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, case: str) -> Row | None:
        """Return the row of a case that was done and ended well."""
        path = self.folder / f"{case}.json"
        row = Row(**json.loads(path.read_text())) if path.exists() else None
        return row if row and row.done and not row.faults else None

    def keep(self, row: Row) -> Row:
        """Write a row; what failed before under its name is kept beside it."""
        path = self.folder / f"{row.case}.json"
        if path.exists():
            path.rename(path.with_suffix(f".{len(list(self.folder.glob(f'{row.case}.*')))}.earlier"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        path.write_text(json.dumps({**asdict(row), "when": now}, indent=1))
        return row

    def rows(self) -> list[Row]:
        """Return all rows."""
        return [Row(**json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]


def table(rows: Iterable[Row]) -> str:
    """Return what was broken, counted, as a table in Markdown; of kills in a row each counts."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for what in row.broken:
            groups[row.kind, row.stage, what].append(row)
    lines = [
        "| kind | command | what | broken | in a row | ended as unbroken | differed |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for (kind, stage, what), broken in sorted(groups.items()):
        in_a_row = sum(len(row.broken) > 1 for row in broken)
        bad = sum(bool(row.faults) for row in broken)
        lines.append(f"| {kind} | {stage} | {what} | {len(broken)} | {in_a_row} | {len(broken) - bad} | {bad} |")
    return "\n".join(lines)


def machine() -> str:
    """Return date and machine, as figures are given with."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"
