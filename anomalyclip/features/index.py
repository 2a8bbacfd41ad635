"""The index of a feature store: two tables, and parts that were written after them."""

import io
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter

import polars as pl

from anomalyclip.features.sources import STAMPS
from anomalyclip.storage import Storage

INDEX = pl.Schema(
    {
        **STAMPS,
        "hash": pl.String(),
        "object": pl.String(),
        "frames": pl.Int64(),
        "num_frames": pl.Int64(),
        "fps": pl.Float64(),
        "rotated": pl.Boolean(),
    }
)
"""A source as it was when its features were made: its content's hash, its object's key in the storage, the
stored `frames` (without counting crops), the frames and frames per second of the decoded video, and whether its
frames were rotated for display (null in rows from before that was done)."""

QUARANTINE = pl.Schema(
    {**STAMPS, "hash": pl.String(), "reason": pl.String(), "when": pl.String(), "killed": pl.Boolean()}
)
"""A source as it was when its features could not be made; no hash if it could not be read at all. `killed`: whether
its decoder was, null in rows from before that was told apart."""

_RESULTS = pl.Schema({**INDEX, **QUARANTINE})
"""A part; a row with a reason is one of the quarantine."""

PARTS = "parts"
MOST_PARTS, ROWS_A_PART = 256, 1000
"""Parts of one process after which it merges them: these, and one more for so many rows of the index. A merge costs
what the index is long, so that the cost of a result stays the same."""
MERGE_TRIES = 5
"""Times that a merge starts again because another job has merged meanwhile."""


@dataclass(frozen=True)
class ExtractionResult:
    """The outcome for one video: its features' figures, or an error (one line)."""

    video: str
    size: int
    mtime: int
    hash: str | None = None
    frames: int = 0
    num_frames: int = 0
    fps: float = 0.0
    rotated: bool = False
    seconds: float = 0.0
    error: str | None = None
    killed: bool = False
    """Whether the error is that its decoder was killed, which says nothing about the video."""


class FeatureIndex:
    """Which sources have features, and which could not be read: of each source the newest result.

    `index.parquet` and `quarantine.parquet` are plain tables. A job adds its results as files in `parts/`, and merges
    these into the tables from time to time and at its end; what reads the index reads both. A merge deletes its parts
    last, so that a job killed in it leaves parts that are merged once more.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._written = 0
        self._rows: int | None = None

    def index(self, parts: Sequence[str] | None = None) -> pl.DataFrame | None:
        """Return the table INDEX, None if it is missing or damaged: objects are then found by their content alone.

        `parts` are the keys of its parts, if a listing has told them.
        """
        news = self._news(self._parts() if parts is None else parts)
        # read after the parts: another job merges before it deletes
        table = self._read(self._key("index"), INDEX)
        return None if table is None else _updated(table, news)

    def quarantine(self) -> pl.DataFrame:
        """Return the table QUARANTINE."""
        news = self._news(self._parts())
        return _updated(self._read(self._key("quarantine"), QUARANTINE), news, failed=True)

    def add(self, results: Sequence[ExtractionResult]) -> None:
        """Add results as one part."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self._write(self._key(f"{PARTS}/{name}"), _part(results, self._folder))
        self._written += 1
        if self._rows is None:  # a new store has its tables from the first result on
            self._rows = 0 if self._storage.exists(self._key("index")) else self.merge()
        elif self._written >= MOST_PARTS + self._rows // ROWS_A_PART:
            self._rows = self.merge()

    def merge(self, without: Sequence[str] = ()) -> int:
        """Write the parts into the tables, remove sources from the index, and return the length of the index."""
        for _ in range(MERGE_TRIES):
            before = self._storage.stat(self._key("index"))
            parts = self._parts()
            news = self._news(parts)
            index = _updated(self._read(self._key("index"), INDEX), news)
            # without a lock, which object stores lack: objects are immutable, and a lost row costs one hash
            if self._storage.stat(self._key("index")) == before:
                break
        if parts or without:
            self._write(self._key("index"), index.filter(~pl.col("video").is_in(list(without))))
        if parts and (news["reason"].count() or self._storage.exists(self._key("quarantine"))):
            quarantine = self._read(self._key("quarantine"), QUARANTINE)
            self._write(self._key("quarantine"), _updated(quarantine, news, failed=True))
        for part in parts:  # the oldest first: a newer result of a video is never gone before an older one
            with suppress(FileNotFoundError):
                self._storage.delete(part)
        self._written = 0
        return index.height

    def _parts(self) -> list[str]:
        """Return the keys of the parts, the oldest first."""
        files = self._storage.list(f"{self._folder}/{PARTS}")
        return [f"{self._folder}/{PARTS}/{file}" for file in files if file.endswith(".parquet")]

    def _news(self, parts: Sequence[str]) -> pl.DataFrame:
        """Return the newest result of each video in parts; those that were merged meanwhile are left out."""
        tables = [table for part in parts if (table := self._read(part, _RESULTS)) is not None]
        return pl.concat([pl.DataFrame(schema=_RESULTS), *tables]).unique("video", keep="last", maintain_order=True)

    def _read(self, key: str, schema: pl.Schema) -> pl.DataFrame | None:
        """Return a table, None if it is missing or damaged."""
        try:
            table = pl.read_parquet(io.BytesIO(self._storage.read(key)))
        except (FileNotFoundError, pl.exceptions.ComputeError):
            return None
        return pl.concat([pl.DataFrame(schema=schema), table], how="diagonal")

    def _write(self, key: str, table: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        self._storage.write(key, buffer.getvalue())

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}.parquet"


def _updated(table: pl.DataFrame | None, news: pl.DataFrame, failed: bool = False) -> pl.DataFrame:
    """Return the index, or the quarantine if `failed`, with newer results instead of its own."""
    schema = QUARANTINE if failed else INDEX
    table = pl.DataFrame(schema=schema) if table is None else table
    if news.is_empty():
        return table
    table = table.join(news.select("video"), on="video", how="anti", maintain_order="left")
    return pl.concat([table, news.filter(pl.col("reason").is_not_null() == failed).select(*schema)])


def _part(results: Sequence[ExtractionResult], folder: str) -> pl.DataFrame:
    columns = {field.name: list(map(attrgetter(field.name), results)) for field in fields(ExtractionResult)}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    errors = columns["error"]
    columns |= {
        "object": [f"{folder}/{content or ''}.parquet" for content in columns["hash"]],
        "reason": errors,
        "when": [error and now for error in errors],
    }
    return pl.DataFrame({name: columns[name] for name in _RESULTS}, schema=_RESULTS)
