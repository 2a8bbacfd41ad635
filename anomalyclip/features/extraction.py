"""From one video to its features in the store."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import pyarrow
import torch
from numpy.typing import NDArray

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.video import DecodeError
from anomalyclip.features.decoder import Decoder
from anomalyclip.features.feature_file import Features, FeatureSummary, FeatureWriter
from anomalyclip.features.sources import ABSENT, content_hash, fetch, stamp
from anomalyclip.features.store import ExtractionResult, FeatureStore
from anomalyclip.storage import scratch

Encoder = Callable[[NDArray[np.uint8]], Features]
"""Frames (frames, height, width, 3), uint8 RGB, to features (frames, crops, dim)."""


def extract_video(
    source: str, encoder: Encoder, store: FeatureStore, settings: ExtractionConfig, decoder: Decoder
) -> ExtractionResult:
    """Put the features of a video in the store, unless those of its content are there already.

    A video that cannot be read or decoded gives a result with an error and leaves nothing behind; whatever
    else goes wrong (encoder, disk, store) is raised.
    """
    started = time.perf_counter()
    size, mtime, content = *ABSENT, None
    with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
        try:
            size, mtime = stamp(source)
            content = content_hash(path := fetch(source, Path(folder)))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:  # others may pass, and are raised
            reason = "no such file" if (size, mtime) == ABSENT else " ".join(str(error).split())
            return ExtractionResult(source, size, mtime, error=f"{source}: {reason}")
        summary, fault = store.summary(content), None
        try:
            if summary is None:
                finished = Path(folder) / f"{content}.parquet"
                summary = _write_features(finished, source, path, encoder, settings, decoder)
                store.publish(finished, content)
        except DecodeError as error:
            summary, fault = FeatureSummary(0, 0, 0.0), str(error)
    seconds = time.perf_counter() - started
    return ExtractionResult(
        source, size, mtime, content, summary.frames, summary.num_frames, summary.fps, seconds, fault
    )


def _write_features(
    target: Path, source: str, video: Path, encoder: Encoder, settings: ExtractionConfig, decoder: Decoder
) -> FeatureSummary:
    with FeatureWriter(target, settings.sampling_rate) as writer:
        for frames in decoder.batches(video, settings.sampling_rate, settings.batch_size):
            writer.append(encoder(frames))
        writer.describe(
            {
                "video": source,
                "num_frames": str(decoder.info.num_frames),
                "fps": str(decoder.info.fps),
                "sampling_rate": str(settings.sampling_rate),
                "decoder": f"OpenCV {cv2.__version__}" if video.is_dir() else f"PyAV {av.__version__}",
                "libraries": f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
                f"NumPy {np.__version__}, Arrow {pyarrow.__version__}",
            }
        )
    return FeatureSummary(writer.frames, decoder.info.num_frames, decoder.info.fps)
