"""Watching of live cameras by a trained model: events and their evidence, told to any number of sinks."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from anomalyclip import progress
from anomalyclip.errors import JobError, Stopped, UsageError, fault_lines
from anomalyclip.job import Job
from anomalyclip.jobs.live_models import LiveModels, followed
from anomalyclip.jobs.operating import Asked
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.cameras.camera import Camera
from anomalyclip.live.cameras.sources import Source, parse_sources
from anomalyclip.live.evidence import Evidence
from anomalyclip.live.health import listen, served
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.sinks.couriers import Courier, Sink, drain, standard_output
from anomalyclip.live.sinks.mqtt import Mqtt
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.live.sinks.webhook import SECRET, Webhook, webhook_secret
from anomalyclip.live.watch import Model, Watch
from anomalyclip.run_lock import exclusive, is_lock
from anomalyclip.storage import Storage

if TYPE_CHECKING:
    from anomalyclip.live.ray_stations import Stations

log = logging.getLogger("anomalyclip")

FOLDER, OUTBOX = "live", "outbox.sqlite"
"""Folder of the results in the storage root if no other is given, and the file in it that marks it as one."""
DRAIN_SECONDS = 5.0
"""Time that the sinks have at the end; what they have not taken then waits for the next start."""


@dataclass(frozen=True)
class Watching:
    """A checked watch."""

    model: str
    sources: tuple[Source, ...]
    sinks: tuple[Sink, ...]
    asked: Asked
    folder: Path
    reload: float
    on_ray: bool
    classes: tuple[str, ...]
    """That nobody trained, by their names."""


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """Result of a watch whose sources have all ended."""

    type: str = "result"
    """Tells this line from those of messages."""
    model: str
    folder: str
    sources: int
    seconds: float
    frames: int
    dropped: int
    events: int
    alerts: int
    waiting: dict[str, int]
    """Messages that a sink has not taken yet, by its name; they are sent at the next start."""


def prepare(
    job: Job,
    model: str,
    sources: Sequence[str],
    asked: Asked,
    webhooks: Sequence[str],
    brokers: Sequence[str],
    output: Path | None,
    reload: float,
    on_ray: bool = False,
    classes: tuple[str, ...] = (),
) -> Watching:
    """Check all that is given, without loading the model; raises UsageError."""
    secret = webhook_secret()
    if webhooks and secret is None:
        log.info("messages to webhooks are not signed: %s is not set", SECRET)
    given: list[Sink] = [*(Webhook(url, secret) for url in webhooks), *(Mqtt(url) for url in brokers)]
    sinks = _named([standard_output(), *given])
    return Watching(model, parse_sources(sources), sinks, asked, _folder(job, output), reload, on_ray, classes)


def run(job: Job, watching: Watching) -> WatchResult:
    """Watch until all sources have ended; raises JobError, with the result, if a file could not be read.

    SIGTERM and Ctrl-C end it in order: Stopped or KeyboardInterrupt is raised once all is closed.
    """
    where, name = Storage(str(watching.folder.parent)), watching.folder.name
    with _told() as told, exclusive(where, name, f"watch {watching.folder}"), progress.waiting():
        result, failed = _watch(job, watching, told)
    if told.stop.is_set():
        raise KeyboardInterrupt if told.number == signal.SIGINT else Stopped
    if failed:
        raise JobError(fault_lines(f"{len(failed)} sources could not be read", failed), result)
    return result


class _Told:
    """What signals tell."""

    def __init__(self) -> None:
        self.stop, self.reload = threading.Event(), threading.Event()
        self.number = 0
        """Of the first signal to stop."""

    def follow(self, came: SimpleQueue[int]) -> None:
        """Set what signals tell as they come, up to a 0."""
        while number := came.get():
            if number == signal.SIGHUP:
                self.reload.set()
            else:
                self.number = self.number or number
                self.stop.set()


def _watch(job: Job, watching: Watching, told: _Told) -> tuple[WatchResult, list[str]]:
    settings, started = job.config.live, time.monotonic()
    metrics = Metrics([source.name for source in watching.sources])
    with ExitStack() as stack:
        listener = listen(settings.host, settings.port) if settings.port else None
        models = LiveModels(job, watching.model, watching.asked, watching.classes)
        model = models.look()
        assert model is not None
        watching.folder.mkdir(parents=True, exist_ok=True)
        outbox = stack.enter_context(closing(Outbox(watching.folder / OUTBOX, [sink.key for sink in watching.sinks])))
        couriers = [Courier(sink, outbox) for sink in watching.sinks]
        metrics.show_sinks(couriers, outbox)
        announcer = Announcer(outbox, Evidence(watching.folder), metrics)
        if left := announcer.settle():
            log.info("%d events are ended that an earlier watch left open", left)
        if listener is not None:
            stack.enter_context(served(metrics, listener))
            log.info("metrics at http://%s:%d/metrics", *listener.getsockname()[:2])
        for courier in couriers:
            courier.start()
        stack.callback(drain, couriers, DRAIN_SECONDS)
        start = _on_ray if watching.on_ray else _here
        watch, take_over = start(job, watching, models, model, announcer, metrics)
        with followed(models, take_over, watching.reload if models.may_move else 0, told.reload):
            watch.run(told.stop)
            log.info("no camera is watched any more; sinks have %.0f s for what waits", DRAIN_SECONDS)
    result = WatchResult(
        model=watch.model,
        folder=str(watching.folder),
        sources=len(watching.sources),
        seconds=round(time.monotonic() - started, 1),
        frames=watch.frames,
        dropped=watch.dropped,
        events=announcer.events,
        alerts=announcer.alerts,
        waiting={each.sink.name: count for each in couriers if (count := outbox.depth(each.sink.key))},
    )
    return result, watch.failed


def _here(
    job: Job, watching: Watching, models: LiveModels, model: Model, announcer: Announcer, metrics: Metrics
) -> tuple[Watch, Callable[[Model], None]]:
    """Start to watch in this process; returns the watch, and what gives it another model."""
    max_pixels = job.config.extraction.max_pixels
    cameras = {source.name: Camera(source, job.config.live, max_pixels=max_pixels) for source in watching.sources}
    watch = Watch(cameras, model, announcer, metrics)
    for source in watching.sources:
        log.info("watching %s", source)
        cameras[source.name].start()
    return watch, watch.take_over


def _on_ray(
    job: Job, watching: Watching, models: LiveModels, model: Model, announcer: Announcer, metrics: Metrics
) -> tuple["Stations", Callable[[Model], None]]:
    """Start to watch on the workers of a cluster, as `_here` does in this process."""
    from anomalyclip import cluster  # here, since Ray takes seconds to import
    from anomalyclip.live.ray_stations import Stations

    cluster.connect()
    extraction, sources = job.config.extraction, watching.sources
    number = min(len(sources), cluster.extraction_workers(extraction.workers))
    log.info("watching %s by %d processes of the cluster", ", ".join(map(str, sources)), number)
    stations = Stations(
        sources, number, models.files(), job.config.live, extraction.max_pixels, announcer, watching.folder, metrics
    )
    return stations, lambda _: stations.take_over(models.files())


@contextmanager
def _told() -> Iterator[_Told]:
    """Yield what SIGTERM, Ctrl-C and SIGHUP tell while the block runs; a second Ctrl-C interrupts at once."""
    told, came = _Told(), SimpleQueue[int]()

    def note(number: int, frame: FrameType | None) -> None:
        # an event is not set here: the code that the signal interrupts may hold its lock
        came.put(number)
        if number != signal.SIGHUP:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    thread = threading.Thread(target=told.follow, args=(came,), name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield told
    finally:
        came.put(0)
        thread.join()
        for number, handler in before.items():
            # None: what handled it was not set from Python, and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _named(sinks: Sequence[Sink]) -> tuple[Sink, ...]:
    """Return sinks with names of their own; raises UsageError if one is given twice."""
    seen, names = set[str](), dict[str, int]()
    for sink in sinks:
        if sink.key in seen:
            raise UsageError(f"{sink.name} is given twice")
        seen.add(sink.key)
        names[sink.name] = names.get(sink.name, 0) + 1
        if names[sink.name] > 1:
            sink.name = f"{sink.name} ({names[sink.name]})"
    return tuple(sinks)


def _folder(job: Job, output: Path | None) -> Path:
    """Return the folder for outbox, clips and pictures; UsageError if it cannot be written, or holds other files."""
    if output is None and not job.storage.is_local:
        raise UsageError("clips and waiting messages need a folder of this machine: give --output FOLDER")
    folder = Path(job.storage.path(FOLDER)) if output is None else output.expanduser().absolute()
    try:
        Storage(str(folder.parent)).check_usable()
    except UsageError as error:
        raise UsageError(f"--output {folder}: {error}") from None
    ours = (folder / OUTBOX).exists() or not folder.exists()
    if not ours and (not folder.is_dir() or any(not is_lock(file.name) for file in folder.iterdir())):
        raise UsageError(f"--output {folder} exists, and is not of a watch: give a new folder")
    return folder
