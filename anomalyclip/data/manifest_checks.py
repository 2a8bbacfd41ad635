"""Checks of a manifest's columns and rows; each check yields one line per fault."""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from anomalyclip.data.frame_folder import SUFFIXES, frame_paths, is_folder, link_outside
from anomalyclip.data.labels import NORMAL, is_normal
from anomalyclip.data.schema import OPTIONAL, SCHEMA, SPLITS, Anomaly, span
from anomalyclip.data.uris import check_uri, is_uri

UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
MAX_ID_BYTES = 200

Row = Mapping[str, Any]


def column_faults(columns: list[str]) -> Iterator[str]:
    """Columns that are missing, unknown (with the nearest name) or doubled."""
    for name in SCHEMA:
        if name not in columns:
            yield f"column {name!r} is missing"
    for name in dict.fromkeys(columns):
        if name not in SCHEMA and name not in OPTIONAL:
            yield f"column {name!r} is unknown{suggestion(name, SCHEMA)}"
        if columns.count(name) > 1:
            yield f"column {name!r} occurs {columns.count(name)} times"


def suggestion(name: str, known: Any) -> str:
    """`: did you mean 'labels'?`, or all known names if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"


def row_faults(row: Row, frame_tolerance: int) -> Iterator[str]:
    """Faults of one row by itself; a check whose columns are missing or unreadable is left out."""
    if "video_id" in row:
        yield from id_faults(row["video_id"])
    if "split" in row and row["split"] not in SPLITS:
        yield f"split {row['split']!r} is unknown{suggestion(row['split'], SPLITS)}"
    if "labels" in row:
        yield from label_faults(row["labels"])
    if row.get("num_frames") is not None and row["num_frames"] < 1:
        yield f"num_frames is {row['num_frames']}: it must be at least 1, or empty until probed"
    if row.get("anomalies"):
        if row.get("split") in ("train", "val"):
            yield f"anomalies on a {row['split']} video: intervals belong to test videos only"
        if "labels" in row and not row["labels"]:
            yield f"anomalies on a {NORMAL} video: name its labels or drop the intervals"
        for interval in row["anomalies"]:
            yield from interval_faults(interval, row, frame_tolerance)


def id_faults(video_id: str) -> Iterator[str]:
    """Faults of an id that cannot name a file on every system."""
    if not video_id:
        yield "video_id is empty"
    elif UNSAFE.search(video_id) or video_id[0] in ". " or video_id[-1] in ". ":
        yield (
            'video_id is not safe as a file name: leave out / \\ : * ? " < > |, control characters, '
            "and a dot or space at either end"
        )
    elif len(video_id.encode(errors="replace")) > MAX_ID_BYTES:
        yield f"video_id is longer than {MAX_ID_BYTES} bytes"


def label_faults(labels: list[str]) -> Iterator[str]:
    """Labels that are empty, doubled, Normal beside others, or hold a separator of the CSV form."""
    for name in dict.fromkeys(labels):
        if not name:
            yield "labels hold an empty name"
        elif set(name) & set("|;:"):
            yield f"label {name!r} holds one of | ; : (the separators of the CSV form)"
        elif is_normal(name):
            yield f"label {name!r} beside other labels: a video is normal or has abnormal labels"
        if labels.count(name) > 1:
            yield f"label {name!r} occurs {labels.count(name)} times"


def interval_faults(interval: Anomaly, row: Row, frame_tolerance: int) -> Iterator[str]:
    """Faults of one interval, compared with the frames and labels of its video."""
    start, end, frames = interval["start"], interval["end"], row.get("num_frames")
    if end is not None and (start < 0 or end < 0):
        yield f"interval {span(interval)} is negative: frames count from 0"
    elif end is not None and start > end:
        yield f"interval {span(interval)} starts after its end"
    elif frames is not None and past_the_end(interval, frames, frame_tolerance):
        yield f"interval {span(interval)} goes past the last frame, {frames - 1} (of {frames}, counted from 0)"
    if row.get("labels"):
        for name in interval["labels"]:
            if name not in row["labels"]:
                yield f"interval {span(interval)}: {name!r} is not among the video's ({', '.join(row['labels'])})"


def past_the_end(interval: Anomaly, num_frames: int, frame_tolerance: int) -> bool:
    """Whether an interval needs more frames than the video has, by more than the tolerance."""
    end = interval["end"]
    return end is not None and (interval["start"] >= num_frames or end >= num_frames + frame_tolerance)


def resolve_source(path: str, root: Path, buckets: Collection[str] | None = None) -> str:
    """Absolute path or URI of a manifest's `path`; ValueError if it leaves the root, the stores, or does not exist.

    A video is a file, or a folder that directly holds pictures. Relative paths are looked up below `root`
    (resolved) and may not leave it, by `..` or by a link. Absolute paths and URIs are used as they are;
    only local files must exist. `buckets` are those that a URI may name, None for all.
    """
    if is_uri(path):
        check_uri(path, buckets)
        return path
    path = _plain(path)
    if not path or "\0" in path:
        raise ValueError("path is empty" if not path else "path holds a NUL character")
    source = Path(locate_source(path, root))
    confined = not Path(path).is_absolute()
    if confined and not source.is_relative_to(root):
        raise ValueError(f"path {path!r} leaves the manifest's folder: write an absolute path if you mean it")
    if is_folder(source):
        _check_frames(path, source, root if confined else None)
    elif not os.path.isfile(source):  # noqa: PTH113 (Path.is_file raises where a folder may not be entered)
        raise ValueError(f"path {path!r} is {'not a file' if source.exists() else 'missing'}")
    return str(source)


def locate_source(path: str, root: Path) -> str:
    """Absolute path or URI of a manifest's `path`, which need not exist."""
    return path if is_uri(path) else os.path.realpath(root / _plain(path))


def _plain(path: str) -> str:
    return unquote(urlsplit(path).path) if path.startswith("file://") else path


def _check_frames(path: str, folder: Path, root: Path | None) -> None:
    """Raise ValueError for a folder without pictures, or with one that links to a place outside of `root`."""
    try:
        frames = frame_paths(folder)
    except OSError as error:
        raise ValueError(f"path {path!r} cannot be listed: {error.strerror}") from None
    if not frames:
        raise ValueError(f"path {path!r} is a folder without pictures ({', '.join(SUFFIXES)})")
    if root and (link := link_outside(root, frames)):
        raise ValueError(f"path {path!r}: its picture {link.name} is a link that leaves the manifest's folder")
