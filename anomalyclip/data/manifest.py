"""The manifest: one table per dataset with its videos, their splits, labels and anomalies."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.data.labels import is_normal
from anomalyclip.data.manifest_checks import column_faults, interval_faults, locate_source, resolve_source, row_faults
from anomalyclip.data.manifest_columns import cut_intervals, doubtful_intervals, doubtful_rows, typed_columns
from anomalyclip.data.manifest_files import RawManifest, read_columns, read_raw, suffix_of, typed, write_csv
from anomalyclip.data.manifest_sources import plain_sources
from anomalyclip.data.schema import OPTIONAL, SCHEMA, SPLITS
from anomalyclip.data.splits import in_two_splits
from anomalyclip.errors import UsageError, fault_lines, first_names

MOST_COUNTED = 10_000
"""Faults after which the rest of a manifest is not looked at: each missing file costs several requests to the disk."""
DOUBTED_AT_ONCE = 1000
"""Rows that are Python's at a time."""


def load_manifest(path: str | Path, frame_tolerance: int = 0, buckets: Collection[str] | None = None) -> pl.DataFrame:
    """Read and check a manifest (CSV or Parquet): the schema's columns, `source`, and the optional ones it has.

    `source` is the absolute path or URI of the video; URIs may name `buckets` only, None for all. A lone label Normal
    becomes no label. Intervals that end at most `frame_tolerance` frames past the last one are cut to it. A video may
    be there twice in one split, but not in two. All faults are reported in one UsageError, each with its row (the first
    data row is 1).
    """
    path = Path(path)
    raw = read_raw(path)
    root = path.parent.resolve()
    table, doubtful = typed_columns(raw)
    if table.width:
        doubtful |= doubtful_rows(table, frame_tolerance)
    if "path" in table.columns:
        table = table.with_columns(source=plain_sources(table["path"], root, buckets))
        doubtful |= table["source"].is_null().to_numpy()
    faults = [*column_faults(raw.columns), *raw.faults] + ([] if raw.height else ["there are no rows"])
    found = dict[int, str]()
    for row, source, row_errors in _doubted(raw, table, np.flatnonzero(doubtful), root, buckets, frame_tolerance):
        faults += row_errors
        found |= {} if source is None else {row: source}
        if len(faults) >= MOST_COUNTED:
            table = table.head(row + 1)
            break
    if found:
        table = table.with_columns(table["source"].scatter(list(found), list(found.values())))
    if pairs := _in_two_splits(table):
        faults.append(f"the same video is in two splits: {first_names(pairs)}: keep one of each pair")
    _refuse(path, faults)
    return cut_intervals(table.select(*SCHEMA, "source", *(name for name in OPTIONAL if name in table.columns)))


def _doubted(
    raw: RawManifest,
    table: pl.DataFrame,
    rows: NDArray[np.int64],
    root: Path,
    buckets: Collection[str] | None,
    frame_tolerance: int,
) -> Iterator[tuple[int, str | None, list[str]]]:
    """Yield the faults of some rows (from 0), and their sources, None if they have none."""
    first = _first_rows(table)
    for start in range(0, len(rows), DOUBTED_AT_ONCE):
        part = rows[start : start + DOUBTED_AT_ONCE].tolist()
        for row, cells in zip(part, raw.cells(part), strict=True):
            values, faults = _typed_row(cells, row in raw.crowded, root, buckets)
            faults += row_faults(values, frame_tolerance)
            video_id = values.get("video_id", "")
            if video_id and (other := first[row]) != row + 1:
                faults.append(f"video_id is already that of row {other}")
            named = f"row {row + 1}{raw.place(row)}, video {video_id!r}"
            yield row, values.get("source"), [f"{named}: {fault}" for fault in faults]


def _first_rows(table: pl.DataFrame) -> pl.Series:
    """Return the number of the first row (from 1) with the id of each row."""
    if "video_id" not in table.columns:
        return pl.Series(dtype=pl.Int64)
    return table.with_row_index("row", offset=1).select(pl.col("row").first().over("video_id")).to_series()


def _in_two_splits(table: pl.DataFrame) -> list[str]:
    if not {"video_id", "split", "source"} <= set(table.columns):
        return []
    whole = table.filter(pl.col("source").is_not_null() & pl.col("split").is_in(SPLITS))
    return in_two_splits(whole.select("video_id", "split", "source"))


def check_manifest_head(path: str | Path) -> None:
    """Raise the UsageError of `load_manifest` for a missing file or wrong columns, without reading any row."""
    _refuse(Path(path), list(column_faults(read_columns(Path(path)))))


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        least = "at least " if len(faults) >= MOST_COUNTED else ""
        raise UsageError(fault_lines(f"manifest {path} has {least}{len(faults)} fault(s):", faults))


def named_sources(path: str | Path) -> set[str]:
    """Return the absolute paths and URIs of the videos that a manifest names, whether they exist or not.

    Nothing else of it is checked; raises UsageError if it is no table with a column `path`.
    """
    path = Path(path)
    raw = read_raw(path)
    if "path" not in raw.columns:
        raise UsageError(f"manifest {path} has no column 'path'")
    root = path.parent.resolve()
    paths = raw.table["path"].drop_nulls() if "path" in raw.table.columns else pl.Series("path", [], pl.String())
    paths = paths.filter((paths != "") & ~paths.str.contains("\0", literal=True)).unique()
    sources = plain_sources(paths, root)
    return {*sources.drop_nulls(), *(locate_source(each, root) for each in paths.filter(sources.is_null()))}


def write_manifest(df: pl.DataFrame, path: str | Path) -> None:
    """Write the schema's columns of a manifest as CSV or Parquet, by the path's suffix."""
    table = df.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    if suffix_of(Path(path)) == ".csv":
        write_csv(table.iter_rows(named=True), Path(path))
    else:
        table.write_parquet(path)


def manifest_digest(df: pl.DataFrame) -> str:
    """SHA-256 (hex) of a manifest's content; order of rows, file format and folder do not count."""
    return _digest(df, list(SCHEMA))


def annotations_digest(df: pl.DataFrame) -> str:
    """SHA-256 (hex) of the truth of the given rows (id, labels, intervals, frames), in any order."""
    return _digest(df, ["video_id", "labels", "anomalies", "num_frames"])


def check_frame_counts(
    df: pl.DataFrame,
    counts: Mapping[str, int],
    feature_counts: Mapping[str, int],
    sampling_rate: int | None = 1,
    frame_tolerance: int = 0,
) -> pl.DataFrame:
    """Compare the frame counts of annotations, decoded videos and features.

    `counts` are decoded frames and `feature_counts` stored rows (every `sampling_rate`-th frame, or spread evenly over
    the video if that is None), by video_id; both hold every video of `df`. Counts of annotations and video may differ
    by `frame_tolerance`. Returns the table with num_frames as decoded and intervals cut to it, those of whole videos
    among them; a UsageError names the three numbers of every video whose counts differ or whose intervals go past
    the last frame.
    """
    counted = df.join(_counts(counts, "video"), on="video_id", how="left", maintain_order="left")
    counted = counted.join(_counts(feature_counts, "features"), on="video_id", how="left", maintain_order="left")
    faults = []
    doubted = counted.filter(_may_differ(counted, sampling_rate, frame_tolerance))
    for row in doubted.to_arrow().to_pylist():
        problem = _count_fault(row, row["video"], row["features"], sampling_rate, frame_tolerance)
        if problem:
            annotated, video, features = (_or(row[name]) for name in ("num_frames", "video", "features"))
            numbers = f"annotations {annotated}, video {video}, features {features}"
            faults.append(f"video {row['video_id']!r}: {numbers}: {problem}")
    if faults:
        raise UsageError(fault_lines(f"frame counts differ for {len(faults)} video(s):", faults))
    return cut_intervals(counted.with_columns(num_frames="video").select(df.columns), whole=True)


def _counts(counts: Mapping[str, int], name: str) -> pl.DataFrame:
    schema = {"video_id": pl.String(), name: pl.Int64()}
    return pl.DataFrame({"video_id": list(counts), name: list(counts.values())}, schema)


def _may_differ(counted: pl.DataFrame, sampling_rate: int | None, frame_tolerance: int) -> pl.Series:
    """Return the rows that may have a fault by `_count_fault`."""
    video, features = pl.col("video"), pl.col("features")
    doubts = [video.is_null(), features.is_null(), (pl.col("num_frames") - video).abs() > frame_tolerance]
    if sampling_rate is not None:
        whole, started = video // sampling_rate, (video + (sampling_rate - 1)) // sampling_rate
        doubts.append((features != whole) & (features != started))
    differ = counted.select(pl.any_horizontal(doubts).fill_null(False)).to_series()
    return differ | pl.Series(doubtful_intervals(counted.with_columns(num_frames="video"), frame_tolerance))


def _count_fault(
    row: Mapping[str, Any], video: int | None, features: int | None, sampling_rate: int | None, frame_tolerance: int
) -> str | None:
    if video is None or features is None:
        return "extract its features, or leave it out"
    if sampling_rate is not None:
        whole, started = video // sampling_rate, -(-video // sampling_rate)
        if features not in (whole, started):  # imported ones often leave out the frames of an incomplete last snippet
            return f"features must be {started} (sampling rate {sampling_rate}): extract them again"
    if row["num_frames"] is not None and abs(row["num_frames"] - video) > frame_tolerance:
        return "fix num_frames, or allow a frame tolerance"
    decoded = {**row, "num_frames": video}
    faults = (fault for i in row["anomalies"] for fault in interval_faults(i, decoded, frame_tolerance))
    return next(faults, None)


def _or(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _typed_row(
    cells: Mapping[str, Any], is_crowded: bool, root: Path, buckets: Collection[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Values of the columns that could be read, `source` among them, and the faults of the others."""
    row, faults = dict[str, Any](), list[str]()
    if is_crowded:
        faults.append("there are more cells than columns: quote a cell that holds a comma")
    for column in (*SCHEMA, *OPTIONAL):
        if column in cells:
            try:
                row[column] = typed(column, cells[column])
            except ValueError as error:
                faults.append(str(error))
    if [is_normal(label) for label in row.get("labels", [])] == [True]:
        row["labels"] = []
    try:
        row |= {"source": resolve_source(row["path"], root, buckets)} if "path" in row else {}
    except ValueError as error:
        faults.append(str(error))
    return row, faults


def _digest(df: pl.DataFrame, columns: list[str]) -> str:
    digest = hashlib.sha256()
    for row in df.sort("video_id").select(columns).iter_rows(named=True):
        # no labels mean the same as all of the video's, no end the same as the last frame (-1 if that is unknown)
        last = (row["num_frames"] or 0) - 1
        row["anomalies"] = sorted(
            (i["start"], last if i["end"] is None else i["end"], sorted(i["labels"] or row["labels"]))
            for i in row["anomalies"] or []
        )
        digest.update(json.dumps(list(row.values())).encode() + b"\n")
    return digest.hexdigest()
