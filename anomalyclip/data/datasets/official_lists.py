"""The official lists of the public datasets in the package, and the fixes of their faults.

`lists/DATASET.csv` has the manifest's columns but for `path`. `video_id` is the official name without suffix, `split`
the official one, `labels` the classes in the names of the presets, joined by `|`, the training class first (normal
videos have none). `anomalies` are the official intervals of test videos, `start-end` joined by `;`, 0-based and
inclusive, and `num_frames` the official number of frames. Both are as published, faults included: they are fixed here.
"""

from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import Any

from anomalyclip.data.manifest_files import read_raw, typed
from anomalyclip.data.schema import span

DATASETS = ("ucf-crime", "shanghaitech", "xd-violence")
Row = dict[str, Any]

SUFFIX = ".mp4"


def official_list(dataset: str) -> tuple[list[Row], list[str]]:
    """Return the fixed rows of a dataset's list (without `path`), and a note for each fix."""
    with as_file(files(__package__) / "lists" / f"{dataset}.csv") as path:
        raw = read_raw(path)
    rows = [{column: typed(column, cell) for column, cell in cells.items()} for cells in raw.table.to_dicts()]
    notes = [note for row in rows for note in (*_mend_id(row), *_mend_intervals(row))]
    return rows, notes


def _mend_id(row: Row) -> Iterator[str]:
    name = row["video_id"]
    if name.endswith(SUFFIX):
        row["video_id"] = name.removesuffix(SUFFIX)
        yield f"{name}: an id of the official annotations, the suffix is left out"


def _mend_intervals(row: Row) -> Iterator[str]:
    frames = row["num_frames"]
    for interval in row["anomalies"]:
        if frames is not None and interval["end"] >= frames:
            published = span(interval)
            interval["end"] = frames - 1
            yield f"{row['video_id']}: the official interval {published} goes past the last frame: cut to {frames - 1}"
