"""Extraction of one video's features into the store."""

import hashlib
import logging
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import pyarrow
import torch
from numpy.typing import NDArray

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.timing import Timing, timing_metadata
from anomalyclip.data.uris import is_uri
from anomalyclip.data.video import DecodeError, DecoderKilledError
from anomalyclip.features.feature_file import Features, FeatureSummary, FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.preprocess import ROTATION_VERSION
from anomalyclip.features.sources import ABSENT, STORE_ERRORS, content_hash, fetch, stamp
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

KILLED_TRIES = 3
"""Times that a video is decoded if its decoder is killed each time."""

Encoder = Callable[[NDArray[np.uint8]], Features]
"""Frames (frames, height, width, 3), uint8 RGB, to features (frames, crops, dim)."""


def extract_video(
    source: str, encoder: Encoder, store: FeatureStore, settings: ExtractionConfig, decoder: Decoder
) -> ExtractionResult:
    """Store the features of a video, unless those of its content are stored already.

    A video that cannot be read or decoded gives a result with an error and leaves nothing behind, one whose decoder is
    killed only when it was tried again; every other fault (encoder, disk, store) is raised.
    """
    started = time.perf_counter()
    size, mtime, content = *ABSENT, None
    with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
        try:
            size, mtime = stamp(source)
            content = content_hash(path := fetch(source, Path(folder)))
        except STORE_ERRORS as error:
            if not _of_the_video(source, error):
                raise
            reason = _reason(error, known=(size, mtime) != ABSENT)
            return ExtractionResult(source, size, mtime, error=f"{source}: {reason}")
        fault, killed = None, False
        try:
            summary, rotated = _stored(store, content, path, decoder)
            if summary is None:
                finished = Path(folder) / f"{content}.parquet"
                summary = _write_features(finished, source, path, encoder, settings, decoder)
                rotated = decoder.info.rotated
                store.publish(finished, displayed_hash(content, rotated))
        except DecodeError as error:
            summary, rotated = FeatureSummary(0, 0, 0.0), False
            fault, killed = str(error), isinstance(error, DecoderKilledError)
    seconds, content = time.perf_counter() - started, displayed_hash(content, rotated)
    figures = (summary.frames, summary.num_frames, summary.fps, rotated)
    return ExtractionResult(source, size, mtime, content, *figures, seconds, fault, killed)


def _of_the_video(source: str, error: Exception) -> bool:
    """Whether an error is the video's own: others may be temporary, or the machine's."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return True
    # a store has been asked several times by Arrow; one that refuses or is away costs its own videos
    return is_uri(source) and getattr(error, "errno", None) not in (ENOSPC, EDQUOT)


def _reason(error: Exception, known: bool) -> str:
    missing = isinstance(error, FileNotFoundError) and not known
    return "no such file" if missing else " ".join(str(error).split())[:500]


def displayed_hash(content: str, rotated: bool) -> str:
    """Return the hash that names the stored features of a video whose file has the hash `content`.

    Both are equal unless the video is rotated: stored features of its sideways frames must not be used again.
    """
    return hashlib.sha256(f"{content} rotated {ROTATION_VERSION}".encode()).hexdigest()[:32] if rotated else content


def _stored(store: FeatureStore, content: str, video: Path, decoder: Decoder) -> tuple[FeatureSummary | None, bool]:
    """Return the figures of a video's stored features, None without any, and whether the video is rotated."""
    if (summary := store.summary(displayed_hash(content, rotated=True))) is not None:
        return summary, True
    summary = store.summary(content)
    sideways = summary is not None and decoder.is_rotated(video)
    return (None if sideways else summary), sideways


def _write_features(
    target: Path, source: str, video: Path, encoder: Encoder, settings: ExtractionConfig, decoder: Decoder
) -> FeatureSummary:
    """Write a video's features, again from the start if its decoder was killed."""
    for tries in range(1, KILLED_TRIES):
        with suppress(DecoderKilledError):
            return _decode_once(target, source, video, encoder, settings, decoder)
        log.warning("%s: its decoder was killed, and starts again (try %d)", source, tries + 1)
    try:
        return _decode_once(target, source, video, encoder, settings, decoder)
    except DecoderKilledError as error:
        raise DecoderKilledError(f"{error}, {KILLED_TRIES} times: --retry tries it again") from None


def _decode_once(
    target: Path, source: str, video: Path, encoder: Encoder, settings: ExtractionConfig, decoder: Decoder
) -> FeatureSummary:
    with FeatureWriter(target, settings.step) as writer:
        for frames in decoder.batches(video, settings.step, settings.batch_size):
            writer.append(encoder(frames))
        writer.describe(
            {
                "video": source,
                "num_frames": str(decoder.info.num_frames),
                "fps": str(decoder.info.fps),
                "sampling_rate": str(settings.step),
                "decoder": f"OpenCV {cv2.__version__}" if video.is_dir() else f"PyAV {av.__version__}",
                "libraries": f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
                f"NumPy {np.__version__}, Arrow {pyarrow.__version__}",
                **timing_metadata(decoder.info.timing or Timing()),
            }
        )
    return FeatureSummary(writer.frames, decoder.info.num_frames, decoder.info.fps)
