"""Table of new classes: their probabilities by frame, apart from those of the trained ones in the predictions table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anomalyclip.evaluation.predictions import FloatArray
from anomalyclip.events.event import Track

NEW_TABLE = "new_classes.parquet"


def with_new_table(path: Path, names: Sequence[str], tracks: Iterable[Track]) -> Iterator[Track]:
    """Yield the tracks, and write the probabilities of new classes of each, a row group per video; nothing without any.

    The columns are those of the predictions table: video_id, frame, and `p_<name>`.
    """
    if not names:
        yield from tracks
        return
    columns = [pa.field(f"p_{name}", pa.float32()) for name in names]
    schema = pa.schema([pa.field("video_id", pa.string()), pa.field("frame", pa.int32()), *columns])
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        for track in tracks:
            frames = len(track.scores)
            own = [pa.repeat(track.video_id, frames), pa.array(np.arange(frames, dtype=np.int32))]
            found = [pa.array(np.asarray(track.new[name], dtype=np.float32)) for name in names]
            writer.write_table(pa.table([*own, *found], schema=schema))
            yield track


def read_new_table(path: Path, names: Sequence[str]) -> dict[str, FloatArray]:
    """Return the probabilities `(frames,)` of new classes by name, in the order of the predictions table's rows."""
    table = pq.read_table(path, columns=[f"p_{name}" for name in names])
    return {name: table[f"p_{name}"].to_numpy() for name in names}
