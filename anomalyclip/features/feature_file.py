"""The feature store's Parquet file: one row a frame, written and read in constant memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SCHEMA_VERSION = "1"
ROWS_A_GROUP = 2048

Features = NDArray[np.float16]


@dataclass(frozen=True)
class FeatureSummary:
    """What a file's footer tells: stored rows, and frames and frames per second of the decoded video."""

    frames: int
    num_frames: int
    fps: float


def feature_schema(dim: int) -> pa.Schema:
    """Return the columns: `frame` (0-based index in the video) and `feature`, `dim` numbers a frame."""
    item = pa.field("element", pa.float16(), nullable=False)
    return pa.schema(
        [
            pa.field("frame", pa.int32(), nullable=False),
            pa.field("feature", pa.list_(item, dim), nullable=False),
        ]
    )


class FeatureWriter:
    """Writes a video's features (frames, dim) row group by row group; a context that closes the file."""

    def __init__(self, path: Path, sampling_rate: int) -> None:
        self.frames = 0
        self._path = path
        self._sampling_rate = sampling_rate
        self._pending: list[Features] = []
        self._writer: Any = None

    def append(self, features: Features) -> None:
        """Add the features of the next kept frames."""
        self._pending.append(features)
        if sum(map(len, self._pending)) >= ROWS_A_GROUP:
            self._flush()

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Write what is left and then what is known about the file, whose video has had a frame at least."""
        self._flush()
        self._writer.add_key_value_metadata({"schema_version": SCHEMA_VERSION, **metadata})

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        features = np.concatenate(self._pending)
        self._pending.clear()
        schema = feature_schema(features.shape[1])
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, schema, use_dictionary=False, compression="none", write_statistics=["frame"]
            )
        numbers = np.arange(self.frames, self.frames + len(features), dtype=np.int32) * self._sampling_rate
        values = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), type=schema.field("feature").type)
        table = pa.Table.from_arrays([pa.array(numbers.astype(np.int32)), values], schema=schema)
        self._writer.write_table(table, row_group_size=len(features))
        self.frames += len(features)


def read_summary(file: Any) -> FeatureSummary:
    """Return the footer's figures of an open file; raises pyarrow.ArrowInvalid where it is damaged."""
    footer = pq.read_metadata(file)
    known = footer.metadata
    return FeatureSummary(footer.num_rows, int(known[b"num_frames"]), float(known[b"fps"]))


def iterate_features(file: Any) -> Iterator[Features]:
    """Yield the features (frames, dim) of an open file, a row group at a time."""
    parquet = pq.ParquetFile(file)
    for group in range(parquet.num_row_groups):
        column = parquet.read_row_group(group, columns=["feature"]).column("feature").combine_chunks()
        yield column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
