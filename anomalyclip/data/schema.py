"""The manifest's schema: the only place where columns and types are written down.

One row per video. `labels` are its classes, none for a normal video. `anomalies` are the frames in which the labels
hold, in test videos only. A test video with labels and without any interval has an unknown truth per frame (see
`labels.known_truth`): it is evaluated as a whole video only.
"""

from typing import TypedDict

import polars as pl

SPLITS = ("train", "val", "test")

SCHEMA = pl.Schema(
    {
        "video_id": pl.String(),
        "path": pl.String(),
        "split": pl.String(),
        "labels": pl.List(pl.String()),
        "anomalies": pl.List(pl.Struct({"start": pl.Int64(), "end": pl.Int64(), "labels": pl.List(pl.String())})),
        "num_frames": pl.Int64(),
    }
)

OPTIONAL = pl.Schema({"started": pl.String()})
"""Columns that a manifest may have: the time of day of the first frame (ISO 8601), for the times of events."""


class Anomaly(TypedDict):
    """An anomalous interval: 0-based inclusive frames; no labels means all labels of its video.

    The whole video is the interval from frame 0 whose end is null (`all` in CSV), however many frames it has.
    """

    start: int
    end: int | None
    labels: list[str]


def span(interval: Anomaly) -> str:
    """Return the frames of an interval as CSV has them: `start-end`, or `all`."""
    return "all" if interval["end"] is None else f"{interval['start']}-{interval['end']}"
