"""Extraction of the videos of a manifest on the workers of a Ray cluster."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext

from anomalyclip import cluster
from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.device import ResolvedPrecision, resolve_device, resolve_precision
from anomalyclip.errors import JobError
from anomalyclip.features.backbone import Backbone, load_backbone, load_stored_backbone, save_backbone
from anomalyclip.features.deaths import WorkerDeaths
from anomalyclip.features.decoder import Decoder
from anomalyclip.features.encoder import FrameEncoder, feature_fingerprint
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.feature_file import Features
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.sources import ABSENT, first_bytes
from anomalyclip.features.store import FeatureStore
from anomalyclip.full_disk import disk_errors
from anomalyclip.progress import Bar, bar, console
from anomalyclip.storage import Storage

log = logging.getLogger("anomalyclip")

RECORD_SECONDS = 2.0
LOG_SECONDS = 4.0
TASKS_AHEAD = 8
"""Videos that wait at a worker per video in work: Ray Data needs 0.2 s to send more, a short video less."""


_RESULTS = pa.schema(
    [
        ("video", pa.string()),
        ("size", pa.int64()),
        ("mtime", pa.int64()),
        ("hash", pa.string()),
        ("frames", pa.int64()),
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("rotated", pa.bool_()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
        ("killed", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class ExtractionProgress:
    """Progress of an extraction: videos done and in all, frames of those done, and seconds.

    The time left is estimated from frames: those in the manifest (`num_frames`); for other videos from their size and
    the frames per byte of the videos done.
    """

    done: int
    total: int
    frames: int
    seconds: float
    frames_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class ExtractionReport:
    """Result for the distinct sources of a manifest; frames, seconds and `extracted` count this call only."""

    fingerprint: str
    precision: ResolvedPrecision
    objects: str
    """URI of the folder of the features."""
    quarantine: str
    """URI of the table of quarantined videos and their reasons."""
    videos: int
    extracted: int
    skipped: int
    quarantined: int
    killed: int
    """Of those, the ones whose decoder was killed: nothing is wrong with them, as far as is known."""
    frames: int
    seconds: float


def extract_missing(
    manifest: pl.DataFrame,
    config: RunConfig,
    storage: Storage,
    retry: bool = False,
    backbone: Backbone | None = None,
) -> ExtractionReport:
    """Extract the features of a manifest's videos (columns `source`, `num_frames`) that the store lacks.

    `retry` tries quarantined videos again; `backbone` saves loading the configured one. Ray must be running.
    Raises JobError if the work itself fails; a video that fails is quarantined.
    """
    backbone = backbone or load_backbone(config.backbone)
    save_backbone(backbone, storage)
    settings = config.extraction
    precision = resolve_precision(settings.precision, torch.device("cuda" if cluster.gpus() else "cpu"))
    store = FeatureStore(storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    sources = manifest["source"].unique(maintain_order=True)
    missing = store.missing(sources.to_list(), retry).join(
        manifest.unique("source").select(video="source", frames=_kept_frames(settings.step)),
        on="video",
        maintain_order="left",
    )
    started = time.monotonic()
    with store.merging(), bar(missing.height, "videos") as shown:
        progress = _Progress(store, missing, partial(_show, shown))
        try:
            for result in _results(missing, store, backbone.identity, precision, settings):
                progress.add(result)
        finally:
            progress.record()
    if progress.frames:
        store.record_rate(progress.state().frames_per_second)
    failed = store.quarantine().filter(pl.col("video").is_in(sources.implode()))
    return ExtractionReport(
        fingerprint=store.fingerprint,
        precision=precision,
        objects=storage.uri(store.key),
        quarantine=storage.uri(f"{store.key}/quarantine.parquet"),
        videos=len(sources),
        extracted=progress.extracted,
        skipped=len(sources) - failed.height - progress.extracted,
        quarantined=failed.height,
        killed=failed.filter(pl.col("killed")).height,
        frames=progress.frames,
        seconds=time.monotonic() - started,
    )


class _Worker:
    """Actor: each of its threads processes a video, so that one is decoded while another is encoded."""

    def __init__(
        self,
        root: str,
        fingerprint: str,
        identity: str,
        precision: ResolvedPrecision,
        settings: ExtractionConfig,
        workers_on_node: int,
        deaths: Any,
    ) -> None:
        ray.get(deaths.start.remote())
        # a core per video beat several threads per video, and Ray would leave a worker one thread on any node
        torch.set_num_threads(max(1, cluster.threads(workers_on_node) // settings.decode_processes))
        storage = Storage(root)
        self._store = FeatureStore(storage, fingerprint)
        self._settings = settings
        self._deaths = deaths
        device = resolve_device()
        self._encoder = FrameEncoder(load_stored_backbone(storage, identity), precision, device, settings.crops)
        # two batches at once need more memory and gain nothing on a GPU; on CPUs they were 1.5 times faster
        self._encoding = threading.BoundedSemaphore(settings.decode_processes if device.type == "cpu" else 1)
        self._decoders = SimpleQueue[Decoder]()
        for _ in range(settings.decode_processes):
            self._decoders.put(Decoder(settings.decode_timeout, settings.max_pixels))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Extract the videos of each row; returns an ExtractionResult per video, as rows."""
        decoder = self._decoders.get()
        try:
            sources = batch.column("sources").combine_chunks().flatten().to_pylist()
            with disk_errors([self._store.storage]):
                results = [asdict(self._extract(source, decoder)) for source in sources]
        finally:
            self._decoders.put(decoder)
        return pa.Table.from_pylist(results, schema=_RESULTS)

    def _extract(self, source: str, decoder: Decoder) -> ExtractionResult:
        ray.get(self._deaths.begin.remote(source))  # counted before anything can kill this process
        result = extract_video(source, self._encode, self._store, self._settings, decoder)
        ray.get(self._deaths.end.remote(source))
        return result

    def _encode(self, frames: NDArray[np.uint8]) -> Features:
        with self._encoding:
            return self._encoder(frames)


def _kept_frames(sampling_rate: int) -> pl.Expr:
    """The frames to encode of videos whose `num_frames` are known."""
    return (pl.col("num_frames") + (sampling_rate - 1)) // sampling_rate


def _show(shown: Bar, state: ExtractionProgress) -> None:
    shown.update(state.done, f"{state.frames} frames, {state.frames_per_second:.0f} frames/s", state.seconds_left)


class _Progress:
    """Counts results, merges them into the index, and reports from time to time how far things are."""

    def __init__(
        self, store: FeatureStore, missing: pl.DataFrame, report: Callable[[ExtractionProgress], None]
    ) -> None:
        """`missing` has the columns video, size (bytes) and frames: to encode, null if not known before."""
        self.extracted = self.frames = 0
        self._store = store
        self._report = report
        self._frames = dict(missing.select("video", "frames").drop_nulls().iter_rows())
        self._frames_left = sum(self._frames.values())  # of videos whose frames are known
        self._bytes_left = int(missing.filter(pl.col("frames").is_null())["size"].clip(0).sum())  # of the others
        self._total = missing.height
        self._done = self._bytes = 0
        self._new: list[ExtractionResult] = []
        self._started = self._working_since = self._recorded = self._logged = time.monotonic()

    def add(self, result: ExtractionResult) -> None:
        """Count a result."""
        if self._done == 0:
            self._working_since = time.monotonic() - result.seconds
        self._new.append(result)
        self._done += 1
        size = max(0, result.size)
        if result.video in self._frames:
            self._frames_left -= self._frames[result.video]
        else:
            self._bytes_left -= size
        if result.error is None:
            self.extracted += 1
            self.frames += result.frames
            self._bytes += size
        else:
            log.warning("quarantined: %s", result.error)
        now = time.monotonic()
        # as it runs: after a kill, videos that the index lacks have to be hashed again to find their features
        if now - self._recorded > RECORD_SECONDS:
            self.record()
        self._report(self.state())
        is_due = now - self._logged > LOG_SECONDS and not console().is_terminal  # a bar shows it there
        if is_due or self._done == self._total:
            self._logged = now
            self._log(self.state())

    def record(self) -> None:
        """Make the results so far visible in the index."""
        if self._new:
            self._store.record(self._new)
        self._new = []
        self._recorded = time.monotonic()

    def state(self) -> ExtractionProgress:
        """Return how far things are; the rate does not count the start of the workers."""
        now = time.monotonic()
        working = max(now - self._working_since, 1e-3)
        rate, frames_per_byte = self.frames / working, self.frames / max(1, self._bytes)
        frames_left = self._frames_left + self._bytes_left * frames_per_byte
        left = frames_left / rate if rate else working * (self._total - self._done) / max(1, self._done)
        return ExtractionProgress(self._done, self._total, self.frames, now - self._started, rate, left)

    def _log(self, state: ExtractionProgress) -> None:
        log.info(
            "%d of %d videos, %d frames, %.0f frames/s, about %s left",
            state.done,
            state.total,
            state.frames,
            state.frames_per_second,
            timedelta(seconds=round(state.seconds_left)),
        )


def _results(
    missing: pl.DataFrame,
    store: FeatureStore,
    identity: str,
    precision: ResolvedPrecision,
    settings: ExtractionConfig,
) -> Iterator[ExtractionResult]:
    """Run the workers; yields results as they arrive."""
    if missing.is_empty():
        return
    workers = cluster.extraction_workers(settings.workers)
    _quieten()
    # started again with its node; then it counts from the beginning
    deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(WorkerDeaths).remote(workers)
    rows = [pa.table({"sources": [group]}) for group in _groups(missing)]
    dataset = ray.data.from_arrow(rows).map_batches(
        _Worker,
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=min(workers, len(rows)),
            max_concurrent_calls_per_actor=settings.decode_processes,
            max_tasks_in_flight_per_actor=TASKS_AHEAD * settings.decode_processes,
            # decoding and encoding overlap across videos without a queue of our own
            enable_true_multi_threading=True,
        ),
        fn_constructor_args=(
            store.storage.root,
            store.fingerprint,
            identity,
            precision,
            settings,
            cluster.processes_per_node(workers),
            deaths,
        ),
        num_cpus=settings.cpus_per_worker,
        # one actor per GPU: its threads share one image tower
        num_gpus=1 if cluster.gpus() else 0,
    )
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from (ExtractionResult(**row) for row in table.to_pylist())
    except ray.exceptions.RayError as error:
        raise JobError(f"extraction failed: {cluster.reason(error)}; run the same command to continue") from error


def _groups(missing: pl.DataFrame) -> list[list[str]]:
    """Sources that a worker processes together, largest first: one, or several that look like the same content."""
    # largest first: a long video started last would keep one worker busy while the others wait
    ordered = missing.sort("size", descending=True, maintain_order=True)
    shared = set(ordered.filter(pl.col("size").is_duplicated())["video"])
    groups: dict[Any, list[str]] = {}
    for source, size in ordered.select("video", "size").iter_rows():
        # copies go to one worker, one after the other: side by side, each would be decoded and encoded
        same = (size, first_bytes(source)) if source in shared and size != ABSENT.size else source
        groups.setdefault(same, []).append(source)
    return list(groups.values())


def _quieten() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    cluster.quieten()
