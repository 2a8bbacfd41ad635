"""The manifest: one table per dataset with its videos, their splits, labels and anomalies."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.data.labels import is_normal
from anomalyclip.data.manifest_checks import column_faults, interval_faults, locate_source, resolve_source, row_faults
from anomalyclip.data.manifest_files import read_columns, read_raw, suffix_of, typed, write_csv
from anomalyclip.data.schema import OPTIONAL, SCHEMA, SPLITS, Anomaly
from anomalyclip.data.splits import in_two_splits
from anomalyclip.errors import UsageError, fault_lines, first_names

MOST_COUNTED = 10_000
"""Faults after which the rest of a manifest is not looked at: each missing file costs several requests to the disk."""


def load_manifest(path: str | Path, frame_tolerance: int = 0, buckets: Collection[str] | None = None) -> pl.DataFrame:
    """Read and check a manifest (CSV or Parquet): the schema's columns, `source`, and the optional ones it has.

    `source` is the absolute path or URI of the video; URIs may name `buckets` only, None for all. A lone label Normal
    becomes no label. Intervals that end at most `frame_tolerance` frames past the last one are cut to it. A video may
    be there twice in one split, but not in two. All faults are reported in one UsageError, each with its row (the first
    data row is 1).
    """
    path = Path(path)
    raw = read_raw(path)
    faults = [*column_faults(raw.columns), *raw.faults] + ([] if raw.rows else ["there are no rows"])
    rows, first_row = [], dict[str, int]()
    root = path.parent.resolve()
    for number, (cells, place) in enumerate(zip(raw.rows, raw.places, strict=True), start=1):
        row, row_errors = _typed_row(cells, root, buckets)
        row_errors += row_faults(row, frame_tolerance)
        video_id = row.get("video_id", "")
        if video_id and first_row.setdefault(video_id, number) != number:
            row_errors.append(f"video_id is already that of row {first_row[video_id]}")
        faults += [f"row {number}{place}, video {video_id!r}: {fault}" for fault in row_errors]
        rows.append(row)
        if len(faults) >= MOST_COUNTED:
            break
    whole = (row for row in rows if "video_id" in row and "source" in row and row.get("split") in SPLITS)
    if pairs := in_two_splits((row["video_id"], row["split"], row["source"]) for row in whole):
        faults.append(f"the same video is in two splits: {first_names(pairs)}: keep one of each pair")
    _refuse(path, faults)
    optional = {name: dtype for name, dtype in OPTIONAL.items() if name in raw.columns}
    return _cut_intervals(pl.DataFrame(rows, schema={**SCHEMA, "source": pl.String(), **optional}))


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
    return {locate_source(str(cells["path"]), root) for cells in raw.rows if cells.get("path")}


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
    faults, checked = [], []
    for row in df.iter_rows(named=True):
        video, features = counts.get(row["video_id"]), feature_counts.get(row["video_id"])
        problem = _count_fault(row, video, features, sampling_rate, frame_tolerance)
        if problem:
            numbers = f"annotations {_or(row['num_frames'])}, video {_or(video)}, features {_or(features)}"
            faults.append(f"video {row['video_id']!r}: {numbers}: {problem}")
        checked.append(row | {"num_frames": video})
    if faults:
        raise UsageError(fault_lines(f"frame counts differ for {len(faults)} video(s):", faults))
    return _cut_intervals(pl.DataFrame(checked, schema=df.schema), whole=True)


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
    cells: Mapping[str, Any], root: Path, buckets: Collection[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Values of the columns that could be read, `source` among them, and the faults of the others."""
    row, faults = dict[str, Any](), list[str]()
    if cells.get(""):
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


def _cut_intervals(df: pl.DataFrame, whole: bool = False) -> pl.DataFrame:
    """End every interval at its video's last frame, if that is known; those of whole videos only if `whole`."""
    return df.with_columns(pl.Series("anomalies", list(_cut_rows(df, whole)), dtype=SCHEMA["anomalies"]))


def _cut_rows(df: pl.DataFrame, whole: bool) -> Iterator[list[Anomaly]]:
    for anomalies, frames in df.select("anomalies", "num_frames").iter_rows():
        ends = [frames - 1 if whole and i["end"] is None else i["end"] for i in anomalies]
        known = [end if end is None or frames is None else min(end, frames - 1) for end in ends]
        yield [i | {"end": end} for i, end in zip(anomalies, known, strict=True)]


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
