"""The feature store's Parquet file: one row per frame and crop, written and read in constant memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anomalyclip.data.parquet import read_undamaged
from anomalyclip.data.timing import Timing, read_timing
from anomalyclip.features.spacing import first_frames

SCHEMA_VERSION = "1"
ROWS_A_GROUP = 2048

Features = NDArray[np.float16]
"""(frames, crops, dim): the stored form of a video's frames, usually with one crop."""


@dataclass(frozen=True)
class FeatureSummary:
    """Figures of a file's footer: stored frames, and frames and frames per second of the decoded video."""

    frames: int
    num_frames: int
    fps: float


def feature_schema(dim: int, crops: int = 1) -> pa.Schema:
    """Return the columns: `frame` (0-based index in the video), `crop` if there are several, and `feature`."""
    item = pa.field("element", pa.float16(), nullable=False)
    frame, crop = pa.field("frame", pa.int32(), nullable=False), pa.field("crop", pa.int8(), nullable=False)
    feature = pa.field("feature", pa.list_(item, dim), nullable=False)
    return pa.schema([frame, crop, feature] if crops > 1 else [frame, feature])


class FeatureWriter:
    """Writes a video's features (frames, crops, dim) row group by row group; a context that closes the file.

    Rows are sorted by frame and then by crop; `frames` counts the frames written.
    """

    def __init__(self, path: Path, frames_per_feature: int | Fraction) -> None:
        self.frames = 0
        self._path = path
        self._frames_per_feature = frames_per_feature
        self._pending: list[Features] = []
        self._crops = 1
        self._writer: Any = None

    def append(self, features: Features) -> None:
        """Add the features (frames, crops, dim) of the next kept frames, of any number of them."""
        self._pending.append(features)
        if sum(len(part) * part.shape[1] for part in self._pending) >= ROWS_A_GROUP:
            self._flush()

    def append_group(self, features: Features) -> None:
        """Add features that were a row group of another file as one of this file; nothing may wait from `append`."""
        assert not self._pending
        self._write(features)

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Write the remaining features and the metadata of the file; at least one frame must have been appended."""
        self._flush()
        known = {"schema_version": SCHEMA_VERSION, "crops": str(self._crops)}
        self._writer.add_key_value_metadata({**known, **metadata})

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
        # groups of whole frames and of nearly the same size
        for group in np.array_split(features, max(1, len(features) * features.shape[1] // ROWS_A_GROUP)):
            self._write(group)

    def _write(self, features: Features) -> None:
        frames, self._crops, dim = features.shape
        schema = feature_schema(dim, self._crops)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, schema, use_dictionary=False, compression="none", write_statistics=["frame"],
                write_page_checksum=True,
            )  # fmt: skip
        numbers = first_frames(self.frames, self.frames + frames, self._frames_per_feature)
        columns = {
            "frame": pa.array(np.repeat(numbers, self._crops).astype(np.int32)),
            "crop": pa.array(np.tile(np.arange(self._crops, dtype=np.int8), frames)),
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), type=schema.field("feature").type),
        }
        table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
        self._writer.write_table(table, row_group_size=len(table))
        self.frames += frames


def read_summary(file: Any) -> FeatureSummary:
    """Return the footer's figures of an open file; raises pyarrow.ArrowInvalid if it is damaged."""
    return read_undamaged(file, _summary)


def read_file_timing(file: Any) -> Timing:
    """Return what an open file says of its frames' times; raises pyarrow.ArrowInvalid if it is damaged."""
    return read_timing(read_file_metadata(file))


def read_file_metadata(file: Any) -> Mapping[bytes, bytes]:
    """Return the metadata of an open file; raises pyarrow.ArrowInvalid if it is damaged."""
    return read_undamaged(file, lambda opened: _known(pq.read_metadata(opened)))


def iterate_features(file: Any) -> Iterator[Features]:
    """Yield the features (frames, crops, dim) of an open file, one row group at a time.

    Raises pyarrow.ArrowInvalid if it is damaged: pages are compared with their checksums, which older files lack.
    """
    footer = read_undamaged(file, pq.read_metadata)
    for group in range(footer.num_row_groups):
        yield read_undamaged(file, partial(_read_group, footer, group))


def _summary(file: Any) -> FeatureSummary:
    footer = pq.read_metadata(file)
    known = _known(footer)
    return FeatureSummary(footer.num_rows // _crops(known), int(known[b"num_frames"]), float(known[b"fps"]))


def _read_group(footer: pq.FileMetaData, group: int, file: Any) -> Features:
    parquet = pq.ParquetFile(file, metadata=footer, page_checksum_verification=True)
    column = parquet.read_row_group(group, columns=["feature"]).column("feature").combine_chunks()
    crops = _crops(_known(footer))
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column) // crops, crops, -1)


def _known(footer: pq.FileMetaData) -> Mapping[bytes, bytes]:
    return footer.metadata or {}  # Arrow gives None for none


def _crops(metadata: Mapping[bytes, bytes]) -> int:
    """Return the crops per frame; older files, of one crop, do not state it."""
    return int(metadata.get(b"crops", b"1"))
