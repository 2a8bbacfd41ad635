"""Writes the table of what `make chaos` has done into a page: `python -m tests.chaos.write_table FOLDER PAGE`."""

import sys
from pathlib import Path

from tests.chaos.draws import SEED
from tests.chaos.ledger import Ledger, machine, table

ASKED = 300
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def write(folder: Path, page: Path) -> None:
    """Replace what stands between the two marks of a page."""
    rows = Ledger(folder / "rows").rows()
    wrong = [row for row in rows if row.faults and row.done]
    killed = [row.broken for row in rows if row.kind == "kill"]
    kills, in_a_row = sum(map(len, killed)), sum(len(roles) for roles in killed if len(roles) > 1)
    said = f"{machine()}; `make chaos`, seed {SEED}. {kills} kills so far, of the {ASKED} that are asked for; "
    said += f"{in_a_row} of them came in a row of two or three."
    parts = [said, table(rows)]
    if wrong:
        parts.append("Differed:")
        parts.append("\n".join(f"- `{row.case}`, {row.stage}, {row.what}: {row.faults[0]}" for row in wrong))
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n\n".join([before + BEGIN, *parts, END]) + after)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
