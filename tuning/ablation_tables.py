"""The paper's ablation tables: what each row changes, its figures on UCF-Crime, and the same tables of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from anomalyclip.evaluation.intervals import Difference, Interval
from anomalyclip.evaluation.tables import markdown
from anomalyclip.evaluation.text import UNDEFINED, difference_text
from anomalyclip.tuning.space import Point

COMPARED = ("auc", "m_auc")
"""Figures whose difference from the full method each row shows."""
SEED = "training.seed"
DEFAULT = "default"
"""Name of the paper's full method, the last row of every table."""

NOTE = (
    "AUC and mAUC in per cent on the test videos: mean ± standard deviation over seeds {seeds}. Δ is the difference of "
    "the means to the full method, with its 95 % interval over test videos (jackknife, paired by video, for these "
    "seeds). The last two columns are the paper's, on UCF-Crime."
)


class Row(NamedTuple):
    """A row of a table: its name, what it changes of the model's settings, the paper's AUC and mAUC if it is there."""

    cells: tuple[str, ...]
    change: Mapping[str, str]
    auc: float | None = None
    m_auc: float | None = None

    @property
    def name(self) -> str:
        """The value of the setting that it changes."""
        return next(iter(self.change.values()), DEFAULT)

    def point(self, seed: int) -> Point:
        """Return the settings of the row's trial with a seed."""
        return {**{f"model.{setting}": value for setting, value in self.change.items()}, SEED: seed}


class Table(NamedTuple):
    """One of the paper's tables, and the columns that name its rows."""

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class RowFigures:
    """A row's result: one figure per seed, and how its means differ from the full method's (None for that itself)."""

    auc: Sequence[float | None]
    m_auc: Sequence[float | None]
    difference: Mapping[str, Difference | None] | None
    floor: Sequence[float | None] = ()
    """mAUC of the score alone, the same for every class; empty where no table shows it."""


TABLES = (
    Table(3, "Representation and learning of the directions of abnormality", ("Text encoder", "Directions"), (
        Row(("no", "direct optimisation"), {"directions": "free"}, 84.98, 69.86),
        Row(("no", "direct optimisation from class means (ours)"),
            {"initial_directions": "class_means", "directions": "free"}),
        Row(("frozen", "engineered prompts"), {"directions": "engineered"}, 84.66, 81.35),
        Row(("frozen", "CoOp"), {"directions": "frozen"}, 85.88, 87.39),
        Row(("finetuning", "CoOp"), {}, 86.36, 90.66),
    )),
    Table(4, "CLIP latent space for likelihood estimation in the Selector model",
          ("Likelihood", "Features", "MIL selection"), (
        Row(("cosine similarity", "CLIP", "cosine similarity"), {"likelihood": "cosine"}, 85.59, 83.69),
        Row(("S", "CLIP - m", "feature magnitude"), {"selection": "magnitude"}, 84.92, 89.82),
        Row(("S", "CLIP - m", "S"), {}, 86.36, 90.66),
    )),
    Table(5, "Temporal model architectures", ("Temporal model",), (
        Row(("MLP",), {"temporal": "mlp"}, 74.86, 84.46),
        Row(("transformer",), {"temporal": "transformer"}, 84.69, 88.38),
        Row(("axial transformer",), {}, 86.36, 90.66),
    )),
)  # fmt: skip


def distinct_rows(tables: Sequence[Table]) -> dict[str, Row]:
    """Return the rows of all tables by name, the full method first and once."""
    rows = {row.name: row for table in tables for row in table.rows}
    return {DEFAULT: rows[DEFAULT], **rows}


def labels(point: Point) -> dict[str, str]:
    """Return the tags of a row's trial, which make its name: row and seed."""
    changed = [value for name, value in point.items() if name != SEED]
    return {"row": changed[0] if changed else DEFAULT, "seed": str(point[SEED])}


def paper_table(table: Table, results: Mapping[str, RowFigures], seeds: Sequence[int]) -> str:
    """Return a table of the results by the rows' names, beside the paper's figures."""
    heading = [*table.columns, "AUC", "mAUC", "ΔAUC", "ΔmAUC", "paper AUC", "paper mAUC"]
    rows = [[*row.cells, *our_cells(results[row.name]), *published_cells(row.auc, row.m_auc)] for row in table.rows]
    body = markdown([heading, *rows], left=len(table.columns))
    note = NOTE.format(seeds=", ".join(map(str, seeds)))
    return f"### Table {table.number}. {table.title}\n\n{body}\n\n{note}\n"


def our_cells(result: RowFigures) -> list[str]:
    """Return a row's AUC and mAUC, and their differences from the full method's, as text."""
    changes = ["", ""]
    if result.difference is not None:
        changes = [difference_text(_in_per_cent(result.difference[name]), 2, fixed=True) for name in COMPARED]
    return [figure_text(result.auc), figure_text(result.m_auc), *changes]


def published_cells(*values: float | None) -> list[str]:
    """Return published figures as text, empty where there is none."""
    return ["" if value is None else f"{value:.2f}" for value in values]


def figure_text(values: Sequence[float | None]) -> str:
    """Return the mean in per cent, with the standard deviation if there are several trainings."""
    defined = [100 * value for value in values if value is not None]
    if len(defined) < len(values):
        return UNDEFINED
    return f"{mean(defined):.2f}" + (f" ± {stdev(defined):.2f}" if len(defined) > 1 else "")


def _in_per_cent(difference: Difference | None) -> Difference | None:
    if difference is None:
        return None
    interval = difference.interval
    scaled = Interval(100 * interval.low, 100 * interval.high) if interval else None
    return Difference(100 * difference.value, scaled)
