"""Estimate of an extraction: frames, time and space."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import polars as pl

from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import DecodeError
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.encoder import FrameEncoder, feature_fingerprint
from anomalyclip.features.sources import fetch
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage, free_bytes, scratch

MEASURED_BATCHES = 3
Result = TypeVar("Result")


@dataclass(frozen=True)
class ExtractionEstimate:
    """Remaining work for a manifest's distinct sources."""

    videos: int
    missing: int
    unreadable: int
    frames: int
    """Frames to encode, by the containers' headers."""
    frames_per_second: float
    rate_source: str
    hours: float
    bytes_needed: int
    bytes_free: int | None
    """None in an object store."""
    enough_space: bool

    def __str__(self) -> str:
        free = "" if self.bytes_free is None else f" of {self.bytes_free / 1e9:.1f} GB free"
        return (
            f"{self.missing} of {self.videos} videos to extract ({self.unreadable} unreadable), "
            f"{self.frames} frames, {self.hours:.2f} h at {self.frames_per_second:.0f} frames/s "
            f"({self.rate_source}), {self.bytes_needed / 1e9:.3f} GB{free}"
            f"{'' if self.enough_space else ': NOT ENOUGH SPACE'}"
        )


def estimate(
    manifest: pl.DataFrame, config: RunConfig, storage: Storage, backbone: Backbone, retry: bool = False
) -> ExtractionEstimate:
    """Estimate the work of `extract_missing`; videos in object stores are downloaded to be opened.

    The rate is that of the last extraction of these features, else it is measured here on one video.
    """
    settings = config.extraction
    precision = resolve_precision(settings.precision, resolve_device())
    store = FeatureStore(storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    missing = store.missing(manifest["source"].to_list(), retry)["video"].to_list()
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        frames = [_kept_frames(source, settings.step, decoder) for source in missing]
    total = sum(filter(None, frames))
    rate, origin = store.rate(), "the last extraction's rate"
    if rate is None:
        encoder = FrameEncoder(backbone, precision, resolve_device(), settings.crops)
        readable = (source for source, count in zip(missing, frames, strict=True) if count)
        rate = measured(readable, partial(_rate, encoder=encoder, settings=settings)) or 0.0
        origin = "measured here on one video, one worker"
    needed, free = feature_bytes(total, settings.crops, backbone.dim), free_bytes(storage)
    return ExtractionEstimate(
        videos=manifest["source"].n_unique(),
        missing=len(missing),
        unreadable=frames.count(None),
        frames=total,
        frames_per_second=rate,
        rate_source=origin,
        hours=total / rate / 3600 if rate else 0.0,
        bytes_needed=needed,
        bytes_free=free,
        enough_space=free is None or needed < free,
    )


def _kept_frames(source: str, sampling_rate: int, decoder: Decoder) -> int | None:
    """Return the number of frames of a video that will be encoded; None if it cannot be opened."""
    with TemporaryDirectory(dir=scratch(), prefix="probe-") as folder:
        try:
            return -(-decoder.probe(fetch(source, Path(folder))) // sampling_rate)
        except (DecodeError, OSError):
            return None


def measured(sources: Iterable[str], measure: Callable[[Path], Result]) -> Result | None:
    """Return what `measure` says of the first video that can be read; None without one.

    `measure` raises DecodeError or OSError for a video that cannot be read.
    """
    for source in sources:
        with TemporaryDirectory(dir=scratch(), prefix="probe-") as folder, suppress(DecodeError, OSError):
            return measure(fetch(source, Path(folder)))
    return None


def feature_bytes(frames: int, crops: int, dim: int) -> int:
    """Return the bytes that the features of so many frames take in the store."""
    return frames * crops * (dim * 2 + 4)


def _rate(path: Path, encoder: FrameEncoder, settings: ExtractionConfig) -> float:
    """Return frames per second over a few batches after the first, which warms up."""
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        batches = decoder.batches(path, settings.step, settings.batch_size)
        first = next(batches).copy()  # its memory is used again
        encoder(first)
        started, frames = time.perf_counter(), 0
        for _ in range(MEASURED_BATCHES):
            batch = next(batches, first)
            encoder(batch)
            frames += len(batch)
        return frames / (time.perf_counter() - started)
