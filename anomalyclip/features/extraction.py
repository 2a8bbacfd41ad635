"""Extraction of one video's features into the store."""

import hashlib
import logging
import time
from errno import EDQUOT, ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.uris import is_uri
from anomalyclip.data.video import DecodeError, DecoderKilledError
from anomalyclip.features.feature_file import FeatureSummary
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.long_videos import Encoder, write_features
from anomalyclip.features.preprocess import ROTATION_VERSION
from anomalyclip.features.sources import ABSENT, STORE_ERRORS, content_hash, fetch, stamp
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.video_parts import VideoParts
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")


def extract_video(
    source: str, encoder: Encoder, store: FeatureStore, settings: ExtractionConfig, decoder: Decoder
) -> ExtractionResult:
    """Store the features of a video, unless those of its content are stored already.

    A video that cannot be read or decoded gives a result with an error and leaves nothing behind, one whose decoder is
    killed only when it was tried again, and then with the parts of a long video; every other fault (encoder, disk,
    store) is raised.
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
        fault, killed, parts = None, False, VideoParts(store, content, settings)
        try:
            summary, rotated = _stored(store, content, path, decoder)
            if summary is None:
                finished = Path(folder) / f"{content}.parquet"
                frames, info = write_features(finished, source, path, encoder, decoder, parts)
                summary, rotated = FeatureSummary(frames, info.num_frames, info.fps), info.rotated
                store.publish(finished, displayed_hash(content, rotated))
                parts.remove()
        except DecodeError as error:
            if not isinstance(error, DecoderKilledError):
                parts.remove()
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
