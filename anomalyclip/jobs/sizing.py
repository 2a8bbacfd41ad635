"""Sizing of an extraction: what it needs on so many GPUs, from rates that are given or measured here."""

import logging
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.uris import is_uri
from anomalyclip.data.video import DecodeError
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import JobError, UsageError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.extraction_blocks import BYTES_A_FRAME
from anomalyclip.features.sizing import Frames, Rates, Sizing, size
from anomalyclip.features.sources import stamps
from anomalyclip.presets import preset
from anomalyclip.settings import build_config

log = logging.getLogger("anomalyclip")

MEASURED_BATCHES = 4


@dataclass(frozen=True)
class Question:
    """What is to be sized."""

    config: RunConfig
    frames: Frames
    """Of each video."""
    videos: list[str]
    """Files on which rates can be measured."""
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
    if (options.manifest is None) == (options.hours is None):
        raise UsageError("give either MANIFEST or --hours")
    if options.hours is not None:
        if options.encode is None or options.decode is None:
            raise UsageError("--hours needs --encode and --decode: there is no video to measure them on")
        videos = max(1, round(options.hours * 60 / options.minutes))
        frames, files = np.full(videos, max(1, round(options.minutes * 60 * options.fps))), list[str]()
    else:
        table = load_manifest(options.manifest, config.data.frame_tolerance, config.data.buckets)
        table = table.unique("source", maintain_order=True)
        frames, files = _frames(table), [source for source in table["source"] if not is_uri(source)]
    powers = [2**exponent for exponent in range(options.gpus.bit_length()) if 2**exponent < options.gpus]
    return Question(config, frames, files, [*powers, options.gpus], options.encode, options.decode,
                    options.cores or 0, options.price)  # fmt: skip


def run(question: Question) -> Sizing:
    """Measure the rates that are not given, and log and return what the extraction needs."""
    settings = question.config.extraction
    backbone = load_backbone(question.config.backbone)
    encode, decode = question.encode, question.decode
    if encode is None or decode is None:
        precision = resolve_precision(settings.precision, resolve_device())
        encoder = FrameEncoder(backbone, precision, resolve_device(), settings.crops, settings.batch_size)
        measured = _measure(question.videos, encoder, settings)
        encode, decode = encode or measured.encode, decode or measured.decode
        log.info("measured here: %.0f frames/s encoded, %.0f decoded by a process", measured.encode, measured.decode)
    sizing = size(
        question.frames,
        settings.step,
        Rates(encode, decode),
        backbone.dim * settings.crops,
        question.gpus,
        question.cores,
    )
    log.info("%s", _table(sizing, question))
    return sizing


def _frames(table: pl.DataFrame) -> Frames:
    """The frames of each video: the manifest's, or by the size of its file."""
    rows = table.select(pl.col("source").alias("video"), "num_frames").join(
        stamps(table["source"].to_list()).select("video", "size"), on="video", maintain_order="left"
    )
    guessed = (pl.col("size").clip(0) // BYTES_A_FRAME).clip(1)
    unknown = rows["num_frames"].null_count()
    if unknown:
        log.warning("frames of %d of %d videos are not in the manifest: taken from their bytes", unknown, rows.height)
    return rows.select(pl.col("num_frames").fill_null(guessed))["num_frames"].to_numpy().astype(np.int64)


def _measure(videos: list[str], encoder: FrameEncoder, settings: ExtractionConfig) -> Rates:
    for rates in _measurements(videos, encoder, settings):
        return rates
    raise JobError("no video of the manifest could be read to measure rates on: give --encode and --decode")


def _measurements(videos: list[str], encoder: FrameEncoder, settings: ExtractionConfig) -> Iterator[Rates]:
    """Yield the rates of the videos that can be read, after a batch that warms up."""
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        for video in videos:
            try:
                batches = decoder.batches(Path(video), settings.step, settings.batch_size)
                encoder(first := next(batches).copy())
                started, decoded = time.perf_counter(), 0
                for batch in islice(batches, MEASURED_BATCHES):
                    decoded += len(batch) * settings.step
                ended = time.perf_counter()
                for _ in range(MEASURED_BATCHES):
                    encoder(first)
                seconds = time.perf_counter() - ended
            except (DecodeError, StopIteration):
                continue
            if decoded:
                yield Rates(MEASURED_BATCHES * len(first) / seconds, decoded / (ended - started))


def _table(sizing: Sizing, question: Question) -> str:
    cost = "" if question.price is None else f", cost {sizing.cost(question.price):,.0f}"
    lines = [
        f"{sizing.videos:,} videos, {sizing.frames:,} frames to encode, {sizing.gigabytes:,.1f} GB of features, "
        f"{sizing.requests:,} requests if in an object store",
        f"a GPU is fed by {sizing.cores_per_gpu} cores{cost}",
        "  GPUs        hours    GPU hours   of their speed",
    ]
    lines += [
        f"  {row.gpus:>4} {row.hours:>12,.2f} {row.gpu_hours:>12,.2f} {row.efficiency:>15.0%}"
        for row in sizing.schedules
    ]
    return "\n".join(lines)
