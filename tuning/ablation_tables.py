"""The paper's ablation tables: what each row changes, its figures on UCF-Crime, and the same tables of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from anomalyclip.evaluation.intervals import Difference, PairedDifference
from anomalyclip.tuning.space import Point

SEED = "training.seed"
DEFAULT = "default"
"""Name of the paper's full method, the last row of every table."""

NOTE = (
    "AUC and mAUC in per cent on the test videos: mean ± standard deviation over seeds {seeds}. Δ is the difference of "
    "the means to the full method, with its 95 % interval over test videos (jackknife, paired by video, for these "
    "seeds). The last two columns are the paper's, on UCF-Crime."
)


class Row(NamedTuple):
    """A row of a table: how the paper names it, what it changes of the model's settings, its AUC and mAUC there."""

    cells: tuple[str, ...]
    change: Mapping[str, str]
    auc: float
    m_auc: float

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
    difference: PairedDifference | None


TABLES = (
    Table(3, "Representation and learning of the directions of abnormality", ("Text encoder", "Directions"), (
        Row(("no", "direct optimisation"), {"directions": "free"}, 84.98, 69.86),
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


def markdown(table: Table, results: Mapping[str, RowFigures], seeds: Sequence[int]) -> str:
    """Return a table of the results by the rows' names, beside the paper's figures."""
    figures = ("AUC", "mAUC", "ΔAUC", "ΔmAUC", "paper AUC", "paper mAUC")
    lines = [[*table.columns, *figures], ["---"] * len(table.columns) + ["--:"] * len(figures)]
    lines += [[*row.cells, *_ours(results[row.name]), f"{row.auc:.2f}", f"{row.m_auc:.2f}"] for row in table.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    note = NOTE.format(seeds=", ".join(map(str, seeds)))
    return f"### Table {table.number}. {table.title}\n\n{body}\n\n{note}\n"


def _ours(result: RowFigures) -> list[str]:
    changes = ["", ""]
    if result.difference is not None:
        changes = [_signed(result.difference.auc), _signed(result.difference.m_auc)]
    return [_figure(result.auc), _figure(result.m_auc), *changes]


def _figure(values: Sequence[float | None]) -> str:
    defined = [100 * value for value in values if value is not None]
    if len(defined) < len(values):
        return "undefined"
    return f"{mean(defined):.2f}" + (f" ± {stdev(defined):.2f}" if len(defined) > 1 else "")


def _signed(difference: Difference | None) -> str:
    if difference is None:
        return "undefined"
    interval = difference.interval
    bounds = f" ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})" if interval else ""
    return f"{100 * difference.value:+.2f}{bounds}"
