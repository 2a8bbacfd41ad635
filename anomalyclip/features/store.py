"""The feature store: immutable objects by content, and an index of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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
from anomalyclip.features.index import INDEX, PARTS, ExtractionResult, FeatureIndex
from anomalyclip.features.sources import STAMPS, stamps
from anomalyclip.storage import Storage


class FeatureStore:
    """The features of one fingerprint under `features/<fingerprint>/` of a storage root."""

    def __init__(self, storage: Storage, fingerprint: str) -> None:
        self.storage = storage
        self.fingerprint = fingerprint
        self.key = f"features/{fingerprint}"
        self._index = FeatureIndex(storage, self.key)

    def index(self) -> pl.DataFrame:
        """Return the table INDEX."""
        table = self._index.index()
        return pl.DataFrame(schema=INDEX) if table is None else table

    def quarantine(self) -> pl.DataFrame:
        """Return the table QUARANTINE."""
        return self._index.quarantine()

    def listed_index(self, files: Iterable[str]) -> pl.DataFrame | None:
        """Return the index by the keys of all files of the store, without asking for them; None if it was lost.

        Objects are then found by their content alone.
        """
        return self._index.index(sorted(file for file in files if file.startswith(f"{self.key}/{PARTS}/")))

    def missing(self, sources: Sequence[str], retry: bool = False) -> pl.DataFrame:
        """Return the table STAMPS of the remaining sources: new, changed, and with `retry` quarantined ones.

        Nothing is opened: a source with the size and time of the index counts as done.
        """
        index, quarantine = self.index(), self.quarantine()
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
        """Add results to index and quarantine, which costs the same however many there are; see `merging`."""
        self._index.add(results)

    @contextmanager
    def merging(self) -> Iterator[None]:
        """Merge the results of all jobs into the tables at the end, also of a failed block."""
        try:
            yield
        finally:
            self._index.merge()

    def remove_sources(self, sources: Sequence[str]) -> None:
        """Remove sources from the index; their objects stay, and are found again by their content."""
        if self._index.index() is not None:  # writing would make the loss final
            self._index.merge(without=sources)

    def object_key(self, content: str) -> str:
        """Return the key of the object of a content's hash."""
        return f"{self.key}/{content}.parquet"

    def summary(self, content: str) -> FeatureSummary | None:
        """Return the figures of the object of a content's hash; None if it is missing or damaged."""
        try:
            with self.open(self.object_key(content)) as file:
                return read_summary(file)
        except (FileNotFoundError, ArrowInvalid):
            return None

    def timing(self, key: str) -> Timing:
        """Return what the object of a key says of the times of its video's frames."""
        with self.open(key) as file:
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
            with self.open(key) as file:
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

    def open(self, key: str) -> Any:
        """Open the file of a key, to read it; raises FileNotFoundError."""
        return self.storage.filesystem.open_input_file(self.storage.path(key))
