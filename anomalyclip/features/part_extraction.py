"""Parts of a long video as work for several workers: cut by one, extracted by any, joined by the last."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pyarrow import ArrowInvalid

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.frame_folder import is_folder
from anomalyclip.data.video import DecodeError, DecoderKilledError
from anomalyclip.features.extraction import displayed_hash
from anomalyclip.features.extraction_blocks import BYTES_A_FRAME, likely_frames
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.long_videos import Encoder, cut_frames, is_long, join, write_part
from anomalyclip.features.sources import STORE_ERRORS, content_hash, fetch, stamp
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.video_copies import VideoCopies
from anomalyclip.features.video_parts import CutFrames, VideoParts
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

LOOKED_AT_BYTES_A_FRAME = 512
"""A file with less for each frame of a part is left to one worker, which may find it long all the same: a look costs
milliseconds, one after the other."""


@dataclass(frozen=True)
class PartTask:
    """A part of a video as it was when it was cut."""

    video: str
    size: int
    mtime: int
    content: str
    number: int
    count: int


@dataclass(frozen=True)
class PartDone:
    """The outcome for one part, whether it is there or not: in stored frames."""

    video: str
    frames: int
    """Of the part; 0 if it could not be made."""
    encoded: int
    """Less than `frames` if it was there before."""
    total: int
    """Of the video."""
    seconds: float


def may_have_parts(missing: pl.DataFrame, settings: ExtractionConfig) -> set[str]:
    """Return the sources that are worth to be looked at (columns video, size and frames, null if not known).

    Copies of one size are left out: one worker takes them one after the other.
    """
    # looking at a video of an object store means to fetch it
    least = pl.when(pl.col("video").str.contains("://")).then(BYTES_A_FRAME).otherwise(LOOKED_AT_BYTES_A_FRAME)
    frames = likely_frames(bytes_a_frame=least)
    found = missing.filter((frames > settings.part_frames) & ~pl.col("size").is_duplicated())
    return set(found["video"].to_list())


def cut_source(source: str, store: FeatureStore, settings: ExtractionConfig, decoder: Decoder) -> list[PartTask]:
    """Return the parts of a video, none if it is extracted as a whole, which also tells what is wrong with it."""
    with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
        try:
            size, mtime = stamp(source)
            path = fetch(source, Path(folder))
            # looked at before it is read for its hash: most videos are not long
            if is_folder(path) or not is_long(decoder.first_look(path), settings):
                return []
            content = content_hash(path)
            cut = cut_frames(path, decoder, VideoParts(store, content, settings))
        except (DecodeError, *STORE_ERRORS):
            return []
    count = 0 if cut is None else cut.count
    return [PartTask(source, size, mtime, content, number, count) for number in range(count)]


def extract_part(
    task: PartTask, encoder: Encoder, store: FeatureStore, settings: ExtractionConfig, decoder: Decoder,
    copies: VideoCopies,
) -> tuple[PartDone, ExtractionResult | None]:  # fmt: skip
    """Store a part, unless it is there; the result of the video comes with the part that completes it.

    A video without a result, when all its parts are done, is one to be extracted as a whole.
    """
    started = time.perf_counter()
    parts = VideoParts(store, task.content, settings)
    missing = PartDone(task.video, 0, 0, 0, 0.0)
    cut = None if parts.is_given_up() else parts.frames()
    if cut is None:
        return missing, None
    try:
        encoded = 0
        if task.number in parts.missing(task.count):
            with ExitStack() as used:
                try:
                    path = used.enter_context(copies.local(task.video, (task.size, task.mtime)))
                except STORE_ERRORS as error:
                    if getattr(error, "errno", None) in (ENOSPC, EDQUOT):
                        raise
                    return missing, None
                write_part(task.number, cut, task.video, path, encoder, decoder, parts)
            encoded = cut.stored(task.number)
        if stamp(task.video) != (task.size, task.mtime):
            parts.remove()  # nothing of another content may count as this one's
            return missing, None
        seconds = time.perf_counter() - started
        done = PartDone(task.video, cut.stored(task.number), encoded, cut.total, seconds)
        return done, None if parts.missing(task.count) else _joined(task, cut, parts, seconds)
    except (DecodeError, ArrowInvalid) as error:
        if not isinstance(error, DecoderKilledError):
            parts.give_up(str(error))
        log.warning("%s: extracted as a whole, since part %d failed: %s", task.video, task.number, error)
        return missing, None
    except FileNotFoundError:  # another worker has joined the parts, or the video is gone
        return missing, None


def _joined(task: PartTask, cut: CutFrames, parts: VideoParts, seconds: float) -> ExtractionResult:
    info = cut.table.info
    content = displayed_hash(task.content, info.rotated)
    with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
        finished = Path(folder) / f"{content}.parquet"
        frames = join(finished, task.video, cut, parts)
        parts.store.publish(finished, content)
    parts.remove()
    figures = (frames, info.num_frames, info.fps, info.rotated)
    return ExtractionResult(task.video, task.size, task.mtime, content, *figures, seconds)
