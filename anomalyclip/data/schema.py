"""The manifest's schema, written once: every module that reads or writes a manifest takes it from here."""

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


class Anomaly(TypedDict):
    """An anomalous interval: 0-based inclusive frames; no labels means all labels of its video."""

    start: int
    end: int
    labels: list[str]
