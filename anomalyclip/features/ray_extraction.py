"""Extraction of the videos of a manifest on the workers of a Ray cluster."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, get_type_hints

import polars as pl
import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from anomalyclip import cluster
from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.device import ResolvedPrecision, resolve_device, resolve_precision
from anomalyclip.errors import JobError
from anomalyclip.features.backbone import Backbone, load_backbone, load_stored_backbone, save_backbone
from anomalyclip.features.deaths import WorkerDeaths
from anomalyclip.features.encoder import FrameEncoder, feature_fingerprint
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.extraction_blocks import blocks
from anomalyclip.features.extraction_progress import ExtractionProgress, Progress
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.part_extraction import PartDone, PartTask, cut_source, extract_part, may_have_parts
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.video_copies import VideoCopies
from anomalyclip.full_disk import disk_errors
from anomalyclip.progress import Bar, bar
from anomalyclip.storage import Storage

log = logging.getLogger("anomalyclip")

TASKS_AHEAD = 8
"""Blocks that wait at a worker per block in work: Ray Data needs 0.2 s to send more. None if there may be parts, which
take minutes: the worker that starts first would get all of them."""


_COLUMNS = {str: pa.string(), str | None: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _struct(kind: type) -> Any:
    return pa.struct([(name, _COLUMNS[hint]) for name, hint in get_type_hints(kind).items()])


_WORK = pa.schema([("sources", pa.list_(pa.string())), ("part", _struct(PartTask))])
_RESULTS = pa.schema(
    [("results", pa.list_(_struct(ExtractionResult))), ("part", _struct(PartDone)), ("node", pa.string())]
)
"""A row per block of videos, or per part of a long one: `part`, else null."""


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
    nodes: dict[str, int]
    """Frames by the address of the node that encoded them."""
    seconds: float


def extract_missing(
    manifest: pl.DataFrame,
    config: RunConfig,
    storage: Storage,
    retry: bool = False,
    backbone: Backbone | None = None,
) -> ExtractionReport:
    """Extract the features of a manifest's videos (columns `source`, `num_frames`) that the store lacks.

    `retry` tries quarantined videos again; `backbone` saves loading the configured one. A Ray cluster is joined; where
    there is none, Ray is started only if something is missing.
    Raises JobError if the work itself fails; a video that fails is quarantined.
    """
    backbone = backbone or load_backbone(config.backbone)
    save_backbone(backbone, storage)
    settings = config.extraction
    if not (own := cluster.is_own()):
        cluster.connect()
    device = resolve_device() if own else torch.device("cuda" if cluster.gpus() else "cpu")
    precision = resolve_precision(settings.precision, device)
    store = FeatureStore(storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    sources = manifest["source"].unique(maintain_order=True)
    missing = store.missing(sources.to_list(), retry).join(
        manifest.unique("source").select(video="source", frames=_kept_frames(settings.step)),
        on="video",
        maintain_order="left",
    )
    started = time.monotonic()
    with store.merging(), bar(missing.height, "videos") as shown:
        progress = Progress(store, missing, partial(_show, shown))
        try:
            for outcome, node in _results(missing, store, backbone.identity, precision, settings):
                if isinstance(outcome, PartDone):
                    progress.add_part(outcome, node)
                else:
                    progress.add(outcome, node)
        finally:
            progress.record()
    if progress.frames:
        store.record_rate(progress.state().frames_per_second)
        log.info("frames by node: %s", ", ".join(f"{node} {frames}" for node, frames in sorted(progress.nodes.items())))
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
        nodes=dict(sorted(progress.nodes.items())),
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
        decoders: int,
        workers_on_node: int,
        deaths: Any,
    ) -> None:
        ray.get(deaths.start.remote())
        # a core per video beat several threads per video, and Ray would leave a worker one thread on any node
        torch.set_num_threads(max(1, cluster.threads(workers_on_node) // decoders))
        storage = Storage(root)
        self._store = FeatureStore(storage, fingerprint)
        self._settings = settings
        self._deaths = deaths
        self._node = cluster.node()
        self._copies = VideoCopies()
        backbone = load_stored_backbone(storage, identity)
        self._encoder = FrameEncoder(
            backbone, precision, resolve_device(), settings.crops, settings.batch_size, settings.compiled
        )
        self._decoders = SimpleQueue[Decoder]()
        for _ in range(decoders):
            self._decoders.put(Decoder(settings.decode_timeout, settings.max_pixels))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do a row of work; returns its ExtractionResults, those of a part too, and this node."""
        decoder = self._decoders.get()
        try:
            (row,) = batch.to_pylist()
            with disk_errors([self._store.storage]):
                if row["part"] is None:
                    found = {"results": self._extract_block(row["sources"], decoder), "part": None}
                else:
                    found = self._extract_part(PartTask(**row["part"]), decoder)
        finally:
            self._decoders.put(decoder)
        return pa.Table.from_pylist([{**found, "node": self._node}], schema=_RESULTS)

    def _extract_block(self, sources: list[str], decoder: Decoder) -> list[dict[str, Any]]:
        befores = [None, *sources[:-1]]
        results = [
            asdict(self._extract(source, decoder, before)) for before, source in zip(befores, sources, strict=True)
        ]
        self._deaths.end.remote(sources[-1])
        return results

    def _extract_part(self, task: PartTask, decoder: Decoder) -> dict[str, Any]:
        name = f"{task.video} (part {task.number + 1} of {task.count})"
        ray.get(self._deaths.begin.remote(name))
        part, result = extract_part(task, self._encoder, self._store, self._settings, decoder, self._copies)
        self._deaths.end.remote(name)
        return {"results": [asdict(result)] if result else [], "part": asdict(part)}

    def _extract(self, source: str, decoder: Decoder, before: str | None) -> ExtractionResult:
        # counted before anything can kill this process; one request per video, as each costs half a millisecond
        ray.get(self._deaths.begin.remote(source, before))
        return extract_video(source, self._encoder, self._store, self._settings, decoder)


def _kept_frames(sampling_rate: int) -> pl.Expr:
    """The frames to encode of videos whose `num_frames` are known."""
    return (pl.col("num_frames") + (sampling_rate - 1)) // sampling_rate


def _show(shown: Bar, state: ExtractionProgress) -> None:
    shown.update(state.done, f"{state.frames} frames, {state.frames_per_second:.0f} frames/s", state.seconds_left)


def _results(
    missing: pl.DataFrame, store: FeatureStore, identity: str, precision: ResolvedPrecision, settings: ExtractionConfig
) -> Iterator[tuple[ExtractionResult | PartDone, str]]:
    """Run the workers; yields results and parts as they arrive, each with its node."""
    job = store, identity, precision, settings
    cut, joined = set[str](), set[str]()
    for outcome, node in _run(missing, may_have_parts(missing, settings), *job):
        if isinstance(outcome, PartDone):
            cut.add(outcome.video)
        elif outcome.video in cut:
            if outcome.video in joined:  # two workers did so at the same time
                continue
            joined.add(outcome.video)
        yield outcome, node
    yield from _run(missing.filter(pl.col("video").is_in(list(cut - joined))), set(), *job)


def _run(
    missing: pl.DataFrame,
    candidates: set[str],
    store: FeatureStore,
    identity: str,
    precision: ResolvedPrecision,
    settings: ExtractionConfig,
) -> Iterator[tuple[ExtractionResult | PartDone, str]]:
    """Run the workers once; `candidates` are the videos that are cut into parts if they are long."""
    if missing.is_empty():
        return
    cluster.connect()
    workers = cluster.extraction_workers(settings.workers)
    _quieten()
    # started again with its node; then it counts from the beginning
    deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(WorkerDeaths).remote(workers)
    decoders = cluster.decode_processes(settings.decode_processes, workers)
    plan = _Plan(workers * decoders, frozenset(candidates), store.storage.root, store.fingerprint, settings)
    waiting = ray.data.read_datasource(_Waiting(missing, plan), override_num_blocks=1, num_cpus=0)
    waiting.context.target_max_block_size = 1  # a row is a block
    dataset = waiting.map_batches(
        _Worker,
        batch_size=1,  # a block; with GPUs, Ray Data refuses None
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=workers if candidates else min(workers, missing.height),
            max_concurrent_calls_per_actor=decoders,
            max_tasks_in_flight_per_actor=(1 if candidates else TASKS_AHEAD) * decoders,
            # decoding and encoding overlap across videos without a queue of our own
            enable_true_multi_threading=True,
        ),
        fn_constructor_args=(
            store.storage.root,
            store.fingerprint,
            identity,
            precision,
            settings,
            decoders,
            cluster.processes_per_node(workers),
            deaths,
        ),
        num_cpus=settings.cpus_per_worker,
        # one actor per GPU: its threads share one image tower
        num_gpus=1 if cluster.gpus() else 0,
    )
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in table.to_pylist():
                if row["part"] is not None:
                    yield PartDone(**row["part"]), row["node"]
                yield from ((ExtractionResult(**result), row["node"]) for result in row["results"])
    except ray.exceptions.RayError as error:
        raise JobError(f"extraction failed: {cluster.reason(error)}; run the same command to continue") from error


@dataclass(frozen=True)
class _Plan:
    """How videos become work."""

    slots: int
    candidates: frozenset[str]
    """Videos that are cut into parts if they are long."""
    root: str
    fingerprint: str
    settings: ExtractionConfig


class _Waiting(Datasource):  # type: ignore[misc]
    """The videos that wait for a worker: a row per block of videos or part, made when a worker has room for it."""

    def __init__(self, missing: pl.DataFrame, plan: _Plan) -> None:
        super().__init__()
        self._missing = ray.put(missing.select("video", "size", "frames"))
        self._plan = plan

    def estimate_inmemory_data_size(self) -> None:
        """Say that the size is not known."""

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task, which yields a block at a time."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(partial(_waiting, self._missing, self._plan), unknown)]


def _waiting(missing: Any, plan: _Plan) -> Iterator[pa.Table]:
    store = FeatureStore(Storage(plan.root), plan.fingerprint)
    with closing(Decoder(plan.settings.decode_timeout, plan.settings.max_pixels)) as decoder:
        for block in blocks(ray.get(missing), plan.slots):
            whole = list[str]()
            for source in block:
                parts = cut_source(source, store, plan.settings, decoder) if source in plan.candidates else []
                for part in parts:
                    yield _work([], part)
                if not parts:
                    whole.append(source)
            if whole:
                yield _work(whole, None)


def _work(sources: list[str], part: PartTask | None) -> pa.Table:
    return pa.Table.from_pylist([{"sources": sources, "part": part and asdict(part)}], schema=_WORK)


def _quieten() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    cluster.quieten()
