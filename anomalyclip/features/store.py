"""The feature store: immutable objects by content, and an index of them."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pyarrow import ArrowInvalid

from anomalyclip.data.timing import Timing
from anomalyclip.errors import JobError, UsageError, first_names
from anomalyclip.features.feature_file import (
    Features,
    FeatureSummary,
    iterate_features,
    read_file_timing,
    read_summary,
)
from anomalyclip.features.sources import STAMPS, stamps
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

_RESULTS = pl.Schema({**INDEX, "error": pl.String(), "killed": pl.Boolean()})


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


class FeatureStore:
    """The features of one fingerprint under `features/<fingerprint>/` of a storage root."""

    def __init__(self, storage: Storage, fingerprint: str) -> None:
        self.storage = storage
        self.fingerprint = fingerprint
        self.key = f"features/{fingerprint}"

    def index(self) -> pl.DataFrame:
        """Return the table INDEX."""
        return self._table("index", INDEX)

    def quarantine(self) -> pl.DataFrame:
        """Return the table QUARANTINE."""
        return self._table("quarantine", QUARANTINE)

    def missing(self, sources: Sequence[str], retry: bool = False) -> pl.DataFrame:
        """Return the table STAMPS of the remaining sources: new, changed, and with `retry` quarantined ones.

        Nothing is opened: a source with the size and time of the index counts as done.
        """
        index, quarantine = self._tables()
        # a row without `rotated` may name features of sideways frames: its object is looked up again, by content
        done = index.filter(pl.col("rotated").is_not_null())
        known = done if retry else pl.concat([table.select(*STAMPS) for table in (done, quarantine)])
        # by size and time: hashing would read every video again at each run
        return stamps(sources).join(known, on=list(STAMPS), how="anti", maintain_order="left")

    def without_features(self, manifest: pl.DataFrame) -> list[str]:
        """Return the ids of a manifest's videos (column `source`) that are not in the index."""
        absent = manifest.join(self.index(), left_on="source", right_on="video", how="anti", maintain_order="left")
        return absent["video_id"].to_list()

    def record(self, results: Sequence[ExtractionResult]) -> None:
        """Merge results into index and quarantine; a row that is lost to another writer costs one hash next time."""
        rows = [{**asdict(result), "object": self.object_key(result.hash or "")} for result in results]
        news = pl.DataFrame(rows, schema=_RESULTS).unique("video", keep="last", maintain_order=True)
        failed = news.filter(pl.col("error").is_not_null()).with_columns(
            reason=pl.col("error"), when=pl.lit(datetime.now(UTC).isoformat(timespec="seconds"))
        )
        # without a lock, which object stores lack: the objects themselves are immutable
        index, quarantine = (table.join(news, on="video", how="anti") for table in self._tables())
        self._write("index", pl.concat([index, news.filter(pl.col("error").is_null()).select(*INDEX)]))
        if failed.height or self.storage.exists(self._key("quarantine")):
            self._write("quarantine", pl.concat([quarantine, failed.select(*QUARANTINE)]))

    def remove_sources(self, sources: Sequence[str]) -> None:
        """Remove sources from the index; their objects stay, and are found again by their content."""
        index = self.index()
        if index.height:  # an empty one may be damaged, and writing would make that final
            self._write("index", index.filter(~pl.col("video").is_in(list(sources))))

    def object_key(self, content: str) -> str:
        """Return the key of the object of a content's hash."""
        return f"{self.key}/{content}.parquet"

    def summary(self, content: str) -> FeatureSummary | None:
        """Return the figures of the object of a content's hash; None if it is missing or damaged."""
        try:
            with self._open(self.object_key(content)) as file:
                return read_summary(file)
        except (FileNotFoundError, ArrowInvalid):
            return None

    def timing(self, key: str) -> Timing:
        """Return what the object of a key says of the times of its video's frames."""
        with self._open(key) as file:
            return read_file_timing(file)

    def publish(self, local: Path, content: str) -> None:
        """Publish a finished file as the object of a content's hash."""
        self.storage.publish(local, self.object_key(content))

    def iterate(self, source: str) -> Iterator[Features]:
        """Yield the features (frames, crops, dim) of a source, or of an object's key, one row group at a time.

        Raises JobError if the object is gone or damaged; it is removed with its rows of the index, so that the next
        extraction makes it again.
        """
        key = source if source.startswith(f"{self.key}/") else self._object_of(source)
        try:
            with self._open(key) as file:
                yield from iterate_features(file)
        except (FileNotFoundError, ArrowInvalid) as error:
            raise self._without(key, error) from None

    def read_features(self, source: str) -> Features:
        """Return the features (frames, crops, dim) of a source, or of an object's key; UsageError if there are none."""
        return np.concatenate(list(self.iterate(source)))

    def rate(self) -> float | None:
        """Return the frames per second of the last extraction; None before the first."""
        try:
            return float(self.storage.read_json(f"{self.key}/rate.json")["frames_per_second"])
        except FileNotFoundError:
            return None

    def record_rate(self, frames_per_second: float) -> None:
        """Store the rate of an extraction, for estimates."""
        self.storage.write_json(f"{self.key}/rate.json", {"frames_per_second": frames_per_second})

    def _without(self, key: str, fault: Exception) -> JobError:
        """Forget an object that cannot be read; returns what to tell of it."""
        index = self.index()
        videos = index.filter(pl.col("object") == key)["video"].to_list()
        self.remove_sources(videos)
        self.storage.delete(key)
        what = (
            "are gone"
            if isinstance(fault, FileNotFoundError)
            else f"were damaged ({' '.join(str(fault).split())[:200]})"
        )
        return JobError(
            f"the features of {first_names(videos) or 'a video'} {what}, in {self.storage.uri(key)}: what was left is "
            "removed, and the same command makes them again; imported features have to be imported again"
        )

    def _object_of(self, source: str) -> str:
        found = self.index().filter(pl.col("video") == source)
        if found.is_empty():
            raise UsageError(f"no features of {source} in {self.storage.uri(self.key)}: run extract first")
        return str(found.item(0, "object"))

    def _open(self, key: str) -> Any:
        return self.storage.filesystem.open_input_file(self.storage.path(key))

    def _tables(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        return self.index(), self.quarantine()

    def _table(self, name: str, schema: pl.Schema) -> pl.DataFrame:
        try:
            table = pl.read_parquet(io.BytesIO(self.storage.read(self._key(name))))
            return pl.concat([pl.DataFrame(schema=schema), table], how="diagonal")
        except (FileNotFoundError, pl.exceptions.ComputeError):  # missing or damaged: objects are found by hash
            return pl.DataFrame(schema=schema)

    def _write(self, name: str, table: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        self.storage.write(self._key(name), buffer.getvalue())

    def _key(self, name: str) -> str:
        return f"{self.key}/{name}.parquet"
