"""The intervals of a user's own folders: `anomalies.csv` beside them, with the columns `path` and `anomalies`."""

import csv
import difflib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from anomalyclip.data.manifest_checks import interval_faults
from anomalyclip.data.manifest_files import typed
from anomalyclip.data.schema import Anomaly

NAME = "anomalies.csv"
COLUMNS = ("path", "anomalies")


class Annotated(NamedTuple):
    """Facts that an interval is compared with: the video's labels, and its frames if known."""

    labels: list[str]
    num_frames: int | None


def file_key(path: str) -> str:
    """Return a path in one form for all systems: `/` between its parts, accents composed."""
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./").rstrip("/")


def read_intervals(
    file: Path, videos: Mapping[str, Annotated], frame_tolerance: int
) -> tuple[dict[str, list[Anomaly]], list[str]]:
    """Return the intervals of each video that has any, by its key of `videos`, and the faults of the file.

    The file may be missing, and may name a video in several rows. Intervals may go past the last frame by
    `frame_tolerance` frames, which are cut later.
    """
    if not file.is_file():
        return {}, []
    intervals, faults = dict[str, list[Anomaly]](), list[str]()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restkey="", restval="")
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                return {}, [f"{NAME}: column {', '.join(missing)} is missing (its columns are path,anomalies)"]
            for row in reader:
                found, wrong = _read_row(row, videos, frame_tolerance)
                faults += [f"{NAME} line {reader.line_num}: {fault}" for fault in wrong]
                if found:
                    intervals.setdefault(file_key(row["path"]), []).extend(found)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        faults.append(f"{NAME} cannot be read as CSV in UTF-8: {error}")
    return intervals, faults


def _read_row(
    row: Mapping[str, str], videos: Mapping[str, Annotated], frame_tolerance: int
) -> tuple[list[Anomaly], list[str]]:
    if not any(row.values()):  # spreadsheets leave such rows at the end
        return [], []
    if "" in row:
        return [], ["there are more cells than columns: quote a path that holds a comma"]
    video = videos.get(key := file_key(row["path"]))
    if video is None:
        near = difflib.get_close_matches(key, list(videos), n=1)
        return [], [f"there is no video {row['path']!r}" + (f": did you mean {near[0]!r}?" if near else "")]
    try:
        anomalies: list[Anomaly] = typed("anomalies", row["anomalies"])
    except ValueError as error:
        return [], [str(error)]
    if anomalies and not video.labels:
        return [], [f"{row['path']!r} is a normal video and has no intervals"]
    faults = [fault for one in anomalies for fault in interval_faults(one, video._asdict(), frame_tolerance)]
    return anomalies, [f"{row['path']!r}: {fault}" for fault in faults]
