"""Tables for people: Markdown, and aligned text for logs and terminals. The first row is the heading."""

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

Rows = Sequence[Sequence[str]]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of what spreadsheets take for a formula."""


def markdown(rows: Rows, left: int = 1) -> str:
    """Return a Markdown table without a final line break, the first `left` columns aligned left, the others right."""
    rule = ["---" if column < left else "--:" for column in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [_escaped(rows[0]), rule, *map(_escaped, rows[1:])])


def aligned(rows: Rows, right: Collection[int] = ()) -> str:
    """Return rows as indented lines with columns of equal width; the columns in `right` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def spreadsheet_text(cell: str) -> str:
    """Return a cell that spreadsheets show and do not compute: an apostrophe before what would start a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def write_spreadsheet(table: pl.DataFrame, path: Path) -> None:
    """Write a CSV file of whose texts spreadsheets compute none."""
    shown = pl.col(pl.String).map_elements(spreadsheet_text, return_dtype=pl.String)
    table.with_columns(shown).write_csv(path)


def _escaped(row: Sequence[str]) -> list[str]:
    return [cell.replace("|", r"\|").replace("\n", " ") for cell in row]
