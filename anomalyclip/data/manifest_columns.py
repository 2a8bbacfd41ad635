"""A manifest's columns in the schema's types, all rows at a time, and the rows whose faults must be looked for."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from anomalyclip.data.labels import is_normal
from anomalyclip.data.manifest_checks import MAX_ID_BYTES, UNSAFE, label_faults
from anomalyclip.data.manifest_files import RawManifest, typed
from anomalyclip.data.schema import OPTIONAL, SCHEMA, SPLITS

Flags = NDArray[np.bool_]
"""`(rows,)`"""
TYPES = {**SCHEMA, **OPTIONAL}


def typed_columns(raw: RawManifest) -> tuple[pl.DataFrame, Flags]:
    """Return the columns in the schema's types, nulls as empty lists and texts, and the rows with an unreadable cell.

    A lone label Normal becomes no label. An unreadable cell is null.
    """
    columns, unreadable = [], np.zeros(raw.height, np.bool_)
    unreadable[list(raw.crowded)] = True
    for column in raw.table:
        typed_column, faulty = _typed(column)
        columns.append(typed_column)
        unreadable |= faulty
    table = pl.DataFrame(columns)
    if "labels" not in table.columns:
        return table, unreadable
    normal = [name for name in _distinct_labels(table) if is_normal(name)]
    is_lone = (pl.col("labels").list.len() == 1) & pl.col("labels").list.first().is_in(normal)
    return table.with_columns(labels=pl.when(is_lone).then([]).otherwise("labels")), unreadable


def doubtful_rows(table: pl.DataFrame, frame_tolerance: int) -> Flags:
    """Return the rows of `typed_columns` that may have a fault by `row_faults`, or an id that another row has."""
    doubts = []
    if "video_id" in table.columns:
        name = pl.col("video_id")
        doubts += [
            name.str.contains(UNSAFE.pattern), name.str.contains("^[. ]"), name.str.contains("[. ]$"),
            name.str.len_bytes() > MAX_ID_BYTES, name.is_duplicated(), name == "",
        ]  # fmt: skip
    if "split" in table.columns:
        doubts.append(~pl.col("split").is_in(SPLITS))
    if "labels" in table.columns:
        faulty = [name for name in _distinct_labels(table) if any(label_faults([name]))]
        labels = pl.col("labels").list
        doubts += [labels.eval(pl.element().is_in(faulty)).list.any(), labels.n_unique() < labels.len()]
    if "num_frames" in table.columns:
        doubts.append((pl.col("num_frames") < 1).fill_null(False))
    flags = table.select(pl.any_horizontal(doubts).fill_null(True)).to_series().to_numpy() if doubts else False
    return doubtful_intervals(table, frame_tolerance) | flags


def doubtful_intervals(table: pl.DataFrame, frame_tolerance: int) -> Flags:
    """Return the rows of a manifest with an interval that may have a fault."""
    flags = np.zeros(table.height, np.bool_)
    if "anomalies" not in table.columns:
        return flags
    rows = table.with_row_index("row").filter(pl.col("anomalies").list.len() > 0)
    if not {"split", "labels", "num_frames"} <= set(table.columns):
        flags[rows["row"].to_numpy()] = True
        return flags
    field = pl.col("anomalies").struct.field
    flat = rows.select("row", "split", "labels", "num_frames", "anomalies").explode("anomalies")
    flat = flat.with_columns(field("start"), field("end"), field("labels").alias("named"))
    frames, start, end = pl.col("num_frames"), pl.col("start"), pl.col("end")
    fine = (
        (pl.col("split") == "test")
        & (pl.col("labels").list.len() > 0)
        & (pl.col("named").list.set_difference("labels").list.len() == 0)
        & (end.is_null() | ((start >= 0) & (start <= end)))
        & (end.is_null() | frames.is_null() | ((start < frames) & (end < frames + frame_tolerance)))
    )
    flags[flat.filter(~fine.fill_null(False))["row"].to_numpy()] = True
    return flags


def manifest_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows with the columns of SCHEMA as a table."""
    cells = list(rows)
    return pl.DataFrame([_series(name, [row[name] for row in cells]) for name in SCHEMA])


def cut_intervals(table: pl.DataFrame, whole: bool = False) -> pl.DataFrame:
    """End every interval at its video's last frame, if that is known; those of whole videos only if `whole`."""
    rows = table.with_row_index("row").filter(pl.col("anomalies").list.len() > 0)
    if rows.is_empty():
        return table
    flat = rows.select("row", "num_frames", "anomalies").explode("anomalies").unnest("anomalies")
    last = pl.col("num_frames") - 1
    end = pl.col("end").fill_null(last) if whole else pl.col("end")
    end = pl.when(end.is_null() | last.is_null()).then(end).otherwise(pl.min_horizontal(end, last))
    interval = pl.struct("start", end.alias("end"), "labels").alias("cut")
    cut = flat.group_by("row", maintain_order=True).agg(interval)
    found = table.with_row_index("row").join(cut, on="row", how="left", maintain_order="left")
    return found.with_columns(anomalies=pl.coalesce("cut", "anomalies")).drop("row", "cut")


def _typed(column: pl.Series) -> tuple[pl.Series, Flags]:
    """Return a column in its type, and the rows with a cell that cannot be read."""
    none = np.zeros(len(column), np.bool_)
    if column.name == "anomalies" and column.dtype != pl.String:
        return _typed_intervals(column)
    if column.name == "labels" and column.dtype != pl.String:
        return column.fill_null([]).list.eval(pl.element().fill_null("")), none
    if column.name == "started" or (column.name in ("labels", "anomalies", "num_frames") and column.dtype == pl.String):
        return _each_value(column)
    return (column.fill_null("") if column.dtype == pl.String else column), none


def _each_value(column: pl.Series) -> tuple[pl.Series, Flags]:
    """Read each distinct cell of a text once: there are few."""
    cells = column.unique()
    values, faulty = _read_cells(column.name, cells.to_list())
    known = pl.DataFrame({"cell": cells, "value": _series(column.name, values), "faulty": faulty})
    found = column.alias("cell").to_frame().join(known, on="cell", how="left", maintain_order="left", nulls_equal=True)
    return found["value"].alias(column.name), found["faulty"].to_numpy()


def _typed_intervals(column: pl.Series) -> tuple[pl.Series, Flags]:
    rows = (column.list.len().fill_null(0) > 0).arg_true().to_numpy()
    values, faulty = _read_cells(column.name, column[rows].to_arrow().to_pylist())
    flags = np.zeros(len(column), np.bool_)
    flags[rows[faulty]] = True
    places = np.full(len(column), len(rows))
    places[rows] = np.arange(len(rows))
    return _series(column.name, [*values, []])[places].alias(column.name), flags


def _read_cells(name: str, cells: list[Any]) -> tuple[list[Any], Flags]:
    values, faulty = [], np.zeros(len(cells), np.bool_)
    for place, cell in enumerate(cells):
        try:
            values.append(typed(name, cell))
        except ValueError:
            values.append(None)
            faulty[place] = True
    return values, faulty


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return Python's values in a column's type, by Arrow: Polars makes a table for each list of structs."""
    kind = pl.Series([], dtype=TYPES[name]).to_arrow(compat_level=pl.CompatLevel.oldest()).type
    return pl.Series(name, pa.array(values, type=kind)).cast(TYPES[name])


def _distinct_labels(table: pl.DataFrame) -> list[str]:
    return table["labels"].explode().drop_nulls().unique().to_list()
