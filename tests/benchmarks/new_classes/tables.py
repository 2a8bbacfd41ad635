"""Tables of what was measured: means over classes and seeds, with 95 % intervals over the test videos."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from anomalyclip.evaluation.intervals import (
    Interval,
    Replicates,
    averaged,
    difference,
    logit_interval,
    mean_replicates,
    plain_interval,
)
from anomalyclip.evaluation.tables import markdown
from anomalyclip.evaluation.text import difference_text, value_text
from tests.benchmarks.new_classes.scores import (
    ABSENT,
    ALL_STATISTICS,
    BY_NAME,
    ENGINEERED,
    NORMAL_STATISTICS,
    TRAINED,
    ZERO_SHOT,
    Kept,
)
from tests.benchmarks.new_classes.trainings import CLASSES, NOTHING, SEEDS, VARIANTS, Case

FIGURES = {
    "auc": "AUC",
    "answer": "AUC among anomalies",
    "top1": "top-1",
    "elsewhere": "false names",
    "share": "share",
    "share_elsewhere": "share elsewhere",
}
WAYS = (BY_NAME, NORMAL_STATISTICS, ALL_STATISTICS, ENGINEERED, ZERO_SHOT)
Measured = Mapping[Case, Kept]
Row = Callable[[int, str], tuple[Case, str]]
"""Seed and class to the training, and the way in it."""


def whole_tables(measured: Measured) -> str:
    """Return all tables, of the variants and seeds that are measured completely."""
    first = next(iter(VARIANTS))
    rows = {f"{BY_NAME}, {variant}": _left_out(variant, BY_NAME) for variant in VARIANTS}
    rows |= {way: _left_out(first, way) for way in WAYS[1:]}
    rows[TRAINED] = _trained(first)
    usable = {name: row for name, row in rows.items() if _seeds(measured, row)}
    parts = [
        _means(measured, usable),
        _differences(measured, usable),
        _by_class(measured, usable),
        _absent(measured, first),
        _detection(measured, first),
    ]
    return "\n\n".join(parts)


def _left_out(variant: str, way: str) -> Row:
    return lambda seed, name: (Case(variant, name, seed), way)


def _trained(variant: str) -> Row:
    return lambda seed, name: (Case(variant, NOTHING, seed), name)


def _seeds(measured: Measured, row: Row) -> list[int]:
    return [seed for seed in SEEDS if all(row(seed, name)[0] in measured for name in CLASSES)]


def replicates(measured: Measured, case: Case, way: str, figure: str) -> Replicates:
    """Return a kept figure."""
    kept = measured[case][way][figure]
    return Replicates(kept["point"], np.array(kept["left_out"]), kept["clusters"], most=1.0)


def over_classes(measured: Measured, row: Row, figure: str) -> list[Replicates]:
    """Return the mean over the classes, for every seed that is measured."""
    found = []
    for seed in _seeds(measured, row):
        mean = mean_replicates([replicates(measured, *row(seed, name), figure) for name in CLASSES])
        assert mean is not None
        found.append(mean)
    return found


def interval(found: Replicates, figure: str) -> Interval | None:
    """Return the interval of a figure between 0 and 1; that of false names on its own scale: they are near 0."""
    if figure != "elsewhere" and (on_logits := logit_interval(found)) is not None:
        return on_logits
    plain = plain_interval(found)
    return plain and Interval(max(plain.low, 0.0), min(plain.high, 1.0))


def _text(trainings: Sequence[Replicates], figure: str) -> str:
    mean = averaged(trainings)
    assert mean is not None
    spread = f" ± {np.std([each.point for each in trainings], ddof=1):.3f}" if len(trainings) > 1 else ""
    value = value_text(mean.point, interval(mean, figure))
    return value.replace(" (", f"{spread} (", 1)


def _means(measured: Measured, rows: Mapping[str, Row]) -> str:
    lines = [["Way", "seeds", *FIGURES.values()]]
    for name, row in rows.items():
        cells = [_text(over_classes(measured, row, figure), figure) for figure in FIGURES]
        lines.append([name, str(len(_seeds(measured, row))), *cells])
    return markdown(lines)


def _differences(measured: Measured, rows: Mapping[str, Row]) -> str:
    """Return paired differences from the default, on the seeds that both have."""
    default = next(iter(rows.values()))
    lines = [["Minus the default", *FIGURES.values()]]
    for name, row in list(rows.items())[1:]:
        seeds = [place for place, seed in enumerate(_seeds(measured, default)) if seed in _seeds(measured, row)]
        cells = []
        for figure in FIGURES:
            own, other = over_classes(measured, row, figure), over_classes(measured, default, figure)
            cells.append(difference_text(difference(averaged(own), averaged([other[place] for place in seeds]))))
        lines.append([name, *cells])
    return markdown(lines)


def _by_class(measured: Measured, rows: Mapping[str, Row]) -> str:
    """Return AUC and top-1 of each class, means over the seeds."""
    shown = [name for name in rows if name in (next(iter(rows)), ENGINEERED, ZERO_SHOT, TRAINED)]
    lines = [["Class", *(f"{name}: AUC, among anomalies, top-1" for name in shown)]]
    for label in CLASSES:
        cells = []
        for name in shown:
            seeds = _seeds(measured, rows[name])
            means = [
                np.mean([replicates(measured, *rows[name](seed, label), figure).point for seed in seeds])
                for figure in ("auc", "answer", "top1")
            ]
            cells.append(", ".join(f"{mean:.3f}" for mean in means))
        lines.append([label, *cells])
    return markdown(lines)


def _absent(measured: Measured, variant: str) -> str:
    """Return what names get that are in no video, in the same models: means over the left-out classes."""
    lines = [["Name in no video", "false names", "share of p_A in anomalies"]]
    for name in ABSENT:
        row = _left_out(variant, f"{BY_NAME}|{name}")
        cells = [_text(over_classes(measured, row, figure), figure) for figure in ("elsewhere", "share_elsewhere")]
        lines.append([name, *cells])
    return markdown(lines)


def _detection(measured: Measured, variant: str) -> str:
    """Return how well p_A finds a class, and what its name adds to the names of others, left out and trained."""
    lines = [["", "AUC of p_A against normal frames", "AUC by the right name minus by others'"]]
    for name, row in {"left out": _left_out(variant, BY_NAME), TRAINED: _trained(variant)}.items():
        cells = [_text(over_classes(measured, row, figure), figure) for figure in ("detection", "gain")]
        lines.append([name, *cells])
    return markdown(lines)


def write(folder: Path, measured: Measured) -> str:
    """Write the tables into a folder and return them."""
    text = whole_tables(measured)
    (folder / "tables.md").write_text(text + "\n")
    return text
