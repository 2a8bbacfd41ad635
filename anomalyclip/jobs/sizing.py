"""Sizing of an extraction: what it needs on so many GPUs, from rates that are given or measured here."""

import logging
import time
from argparse import Namespace
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.video import DecodeError
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import JobError, UsageError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.estimate import MEASURED_BATCHES, measured
from anomalyclip.features.extraction_blocks import likely_frames
from anomalyclip.features.sizing import Frames, Rates, Sizing, size
from anomalyclip.features.sources import stamps
from anomalyclip.presets import preset
from anomalyclip.settings import build_config

log = logging.getLogger("anomalyclip")

MOST, MOST_GPUS = 100_000_000, 100_000
"""Videos, frames of a video, and GPUs: more would take minutes and all memory to simulate."""


@dataclass(frozen=True)
class Question:
    """What is to be sized."""

    config: RunConfig
    frames: Frames
    """Of each video."""
    videos: list[str]
    """Sources on which rates can be measured."""
    gpus: list[int]
    encode: float | None
    decode: float | None
    cores: int
    price: float | None


def prepare(options: Namespace) -> Question:
    """Check the options of the command; raises UsageError."""
    config = build_config(preset("default"), options.config, options.overrides)
    named = ("hours", "fps", "minutes", "gpus", "cores", "encode", "decode", "price")
    wrong = [name for name in named if (value := getattr(options, name)) is not None and not value > 0]
    if wrong:
        raise UsageError(f"--{wrong[0]} {getattr(options, wrong[0]):g} must be above 0")
    if options.gpus > MOST_GPUS:
        raise UsageError(f"--gpus {options.gpus} are more than {MOST_GPUS:,}")
    if (options.manifest is None) == (options.hours is None):
        raise UsageError("give either MANIFEST or --hours")
    if options.hours is not None:
        if options.encode is None or options.decode is None:
            raise UsageError("--hours needs --encode and --decode: there is no video to measure them on")
        count, length = options.hours * 60 / options.minutes, options.minutes * 60 * options.fps
        if max(count, length) > MOST:
            raise UsageError(f"--hours {options.hours:g} are more than {MOST:,} videos, or frames of one: size a part")
        frames, videos = np.full(max(1, round(count)), max(1, round(length))), list[str]()
    else:
        table = load_manifest(options.manifest, config.data.frame_tolerance, config.data.buckets)
        table = table.unique("source", maintain_order=True)
        frames, videos = _frames(table), table["source"].to_list()
    powers = [2**exponent for exponent in range(options.gpus.bit_length()) if 2**exponent < options.gpus]
    return Question(config, frames, videos, [*powers, options.gpus], options.encode, options.decode,
                    options.cores or 0, options.price)  # fmt: skip


def run(question: Question) -> Sizing:
    """Measure the rates that are not given, and log and return what the extraction needs."""
    settings = question.config.extraction
    backbone = load_backbone(question.config.backbone)
    encode, decode = question.encode, question.decode
    if encode is None or decode is None:
        device = resolve_device()
        if device.type == "cpu" and encode is None:
            log.warning("no GPU here: this machine's CPUs stand for one; give --encode for a GPU's rate")
        precision = resolve_precision(settings.precision, device)
        encoder = FrameEncoder(backbone, precision, device, settings.crops, settings.batch_size)
        here = measured(question.videos, partial(_rates, encoder=encoder, settings=settings))
        if here is None:
            raise JobError("no video can be read, or all are too short to be measured: give --encode and --decode")
        encode, decode = encode or here.encode, decode or here.decode
        log.info("measured here: %.0f frames/s encoded, %.0f decoded by a process", here.encode, here.decode)
    sizing = size(question.frames, settings, Rates(encode, decode), backbone.dim, question.gpus, question.cores)
    log.info("%s", _table(sizing, question))
    return sizing


def _frames(table: pl.DataFrame) -> Frames:
    """The frames of each video: the manifest's, or by the size of its file."""
    rows = table.select(pl.col("source").alias("video"), "num_frames").join(
        stamps(table["source"].to_list()).select("video", "size"), on="video", maintain_order="left"
    )
    unknown = rows["num_frames"].null_count()
    if unknown:
        log.warning("frames of %d of %d videos are not in the manifest: taken from their bytes", unknown, rows.height)
    return rows.select(likely_frames("num_frames").clip(1)).to_series().to_numpy().astype(np.int64)


def _rates(path: Path, encoder: FrameEncoder, settings: ExtractionConfig) -> Rates:
    """Return the rates of encoding and of decoding a video, each alone, after a batch that warms up."""
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        batches = decoder.batches(path, settings.step, settings.batch_size)
        encoder(first := next(batches).copy())
        started = time.perf_counter()
        decoded = sum(len(batch) for batch in islice(batches, MEASURED_BATCHES)) * settings.step
        ended = time.perf_counter()
        if not decoded:
            raise DecodeError(f"{path} is too short to be measured")
        for _ in range(MEASURED_BATCHES):
            encoder(first)
        encoding = time.perf_counter() - ended
        return Rates(MEASURED_BATCHES * len(first) / encoding, decoded / (ended - started))


def _table(sizing: Sizing, question: Question) -> str:
    cost = "" if question.price is None else f", cost {sizing.cost(question.price):,.0f}"
    lines = [
        f"{sizing.videos:,} videos, {sizing.frames:,} frames to encode, {sizing.gigabytes:,.4g} GB of features, "
        f"{sizing.requests:,} requests if in an object store",
        f"cores that feed a GPU: {sizing.cores_per_gpu}{cost}",
        "  GPUs        hours    GPU hours   of their speed",
    ]
    lines += [
        f"  {row.gpus:>4} {row.hours:>12,.4g} {row.gpu_hours:>12,.4g} {row.efficiency:>15.0%}"
        for row in sizing.schedules
    ]
    return "\n".join(lines)
