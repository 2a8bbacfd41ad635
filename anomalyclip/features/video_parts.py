"""Parts of a long video's features, kept in the store until all are there, in `long/<content>-<settings>/`."""

import io
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import polars as pl
import pyarrow
import torch
from pyarrow import ArrowInvalid

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.frame_ranges import Borders, FirstLook, FrameTable
from anomalyclip.data.orientation import Orientation
from anomalyclip.data.timing import Timing, read_timing, timing_metadata
from anomalyclip.data.video import VideoInfo, batch_frames
from anomalyclip.features.feature_file import ROWS_A_GROUP, Features, iterate_features, read_file_metadata
from anomalyclip.features.store import FeatureStore
from anomalyclip.settings import digest

FOLDER = "long"
LIBRARIES = (
    f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}, "
    f"Arrow {pyarrow.__version__}"
)
DECODERS = {False: f"PyAV {av.__version__}", True: f"OpenCV {cv2.__version__}"}
"""What decodes a file, and a folder of pictures."""


def part_length(settings: ExtractionConfig, batch: int) -> int:
    """Return the stored frames of a part of a video that is decoded in batches of so many frames.

    A part ends with a batch and a row group: batches and groups are then those of an extraction in one pass.
    """
    group = batch * -(-ROWS_A_GROUP // (batch * settings.crops))
    return -(-settings.part_frames // group) * group


def batch_of(settings: ExtractionConfig, look: FirstLook) -> int:
    """Return the frames of a batch of a video."""
    return batch_frames(look.width * look.height * 3, settings.batch_size)


@dataclass(frozen=True)
class CutFrames:
    """The frames of a video that is extracted in parts."""

    table: FrameTable
    length: int
    """Stored frames of a part."""
    step: int
    """Frames from one stored frame to the next."""

    @property
    def count(self) -> int:
        """Number of parts."""
        return -(-len(self.table.stamps) // (self.length * self.step))

    @property
    def total(self) -> int:
        """Stored frames of the video."""
        return -(-len(self.table.stamps) // self.step)

    def stored(self, number: int) -> int:
        """Return the stored frames of a part."""
        return min(self.length, self.total - number * self.length)


class VideoParts:
    """The parts of one content, named by it and by what decides their numbers and their length.

    `used` says whether anything is kept of it.
    """

    def __init__(self, store: FeatureStore, content: str, settings: ExtractionConfig) -> None:
        decisive = (settings.part_frames, settings.batch_size, settings.crops, settings.step, settings.compiled)
        self.used = False
        self.store = store
        self.settings = settings
        self.key = f"{store.key}/{FOLDER}/{content}-{digest(*decisive, LIBRARIES, DECODERS[False])}"

    def begun(self) -> bool:
        """Return whether anything is kept of the video, by one request."""
        return bool(self._present())

    def missing(self, count: int) -> list[int]:
        """Return the numbers of the parts that are not there."""
        present = self._present()
        return [number for number in range(count) if _name(number, whole=False) not in present]

    def present_from_start(self) -> int:
        """Return the number of parts that an extraction from the start has left."""
        present = self._present()
        return next(number for number in range(len(present) + 1) if _name(number, whole=True) not in present)

    def publish(self, number: int, finished: Path, whole: bool = False) -> None:
        """Publish the finished file of a part; `whole`: of a video that is decoded from its start."""
        self.used = True
        self.store.storage.publish(finished, f"{self.key}/{_name(number, whole)}")

    def features(self, number: int, whole: bool = False) -> Iterator[Features]:
        """Yield the row groups of a part; raises ArrowInvalid if it is damaged, FileNotFoundError if it is gone."""
        with self.store.open(f"{self.key}/{_name(number, whole)}") as file:
            yield from iterate_features(file)

    def borders(self, number: int) -> Borders:
        """Return the checksums around a part's borders; raises like `features`."""
        with self.store.open(f"{self.key}/{_name(number, whole=False)}") as file:
            return read_borders(read_file_metadata(file)[b"borders"])

    def frames(self) -> CutFrames | None:
        """Return how the video is cut, None if that is not known yet."""
        try:
            content = io.BytesIO(self.store.storage.read(f"{self.key}/frames.parquet"))
            table = pl.read_parquet(content)
            known = json.loads(pl.read_parquet_metadata(content)["frames"])
        except (FileNotFoundError, pl.exceptions.ComputeError, ArrowInvalid):
            return None
        self.used = True
        width, height, mirrored, turns, fps = known["look"]
        look = FirstLook(width, height, Orientation(mirrored, turns), table.height)
        timing = read_timing({name.encode(): value.encode() for name, value in known["timing"].items()})
        told = None if timing.times is None and timing.started is None else timing
        info = VideoInfo(table.height, fps, any(look.orientation), told)
        stamps, keys = table["stamp"].to_numpy(), table["key"].arg_true().to_numpy().astype(np.int64)
        return CutFrames(FrameTable(stamps, keys, look, info), known["length"], self.settings.step)

    def write_frames(self, cut: CutFrames) -> None:
        """Keep how the video is cut."""
        self.used = True
        table = cut.table
        flags = np.zeros(len(table.stamps), bool)
        flags[table.keys] = True
        look = (table.look.width, table.look.height, *table.look.orientation, table.info.fps)
        known = {"look": look, "timing": timing_metadata(table.info.timing or Timing()), "length": cut.length}
        content = io.BytesIO()
        frames = pl.DataFrame({"stamp": table.stamps, "key": flags})
        frames.write_parquet(content, metadata={"frames": json.dumps(known)})
        self.store.storage.write(f"{self.key}/frames.parquet", content.getvalue())

    def is_given_up(self) -> bool:
        """Return whether the video has turned out not to be one that can be cut."""
        return self.store.storage.exists(f"{self.key}/uncut.json")

    def give_up(self, reason: str) -> None:
        """Note that the video cannot be cut, and why."""
        self.used = True
        self.store.storage.write_json(f"{self.key}/uncut.json", {"reason": reason})

    def remove(self) -> None:
        """Remove all that is kept of the video."""
        if self.used:
            self.store.storage.delete(self.key)

    def _present(self) -> set[str]:
        present = set(self.store.storage.list(self.key))
        self.used = bool(present) or self.used
        return present


def borders_text(borders: Borders) -> str:
    """Return the checksums around a part's borders as text for its file."""
    return json.dumps(borders)


def read_borders(text: bytes) -> Borders:
    """Return what `borders_text` has written."""
    head, tail = json.loads(text)
    return Borders(tuple(head), tuple(tail))


def _name(number: int, whole: bool) -> str:
    return f"{'whole' if whole else 'part'}-{number:05}.parquet"
