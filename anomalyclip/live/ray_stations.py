"""Live cameras on a Ray cluster: a station per encoder, its sources watched anew where it dies."""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import ray
import torch

from anomalyclip import cluster
from anomalyclip.config import LiveConfig
from anomalyclip.device import resolve_device
from anomalyclip.errors import JobError
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.cameras.camera import Camera
from anomalyclip.live.cameras.sources import Source
from anomalyclip.live.figures import tell_again
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.model_files import Encoders, ModelFiles, load_model
from anomalyclip.live.station import Report, Station, keep_file
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

POLL_SECONDS = 0.1
WAITING_SECONDS = 15.0
"""Time without an answer of a new station after which that is said: the cluster may have no room for it."""
MOST_DEATHS = 3
STOP_SECONDS = 20.0
"""Time that stations have at the end."""


class _Actor:
    """The process of a station; Ray makes an actor of it."""

    def __init__(self, sources: Sequence[Source], model: ModelFiles, settings: LiveConfig, max_pixels: int) -> None:
        log.setLevel(logging.INFO)
        torch.set_num_threads(cluster.threads())
        self._device = resolve_device()
        self._encoders = Encoders(self._device)
        loaded = load_model(model, self._encoders, self._device)
        cameras = {source.name: Camera(source, settings, max_pixels=max_pixels) for source in sources}
        for camera in cameras.values():
            camera.start()
        self._folder = Path(mkdtemp(dir=scratch()))
        self._station = Station(cameras, loaded, self._folder)

    def report(self, number: int) -> Report:
        report = self._station.report(number)
        if report.ended:
            shutil.rmtree(self._folder, ignore_errors=True)
        return report

    def take_over(self, model: ModelFiles) -> None:
        try:
            self._station.take_over(load_model(model, self._encoders, self._device))
        except Exception as error:  # whatever is wrong with the new model here, the old one goes on
            log.warning("a station keeps its model: %s", cluster.reason(error))

    def stop(self) -> None:
        self._station.stop()


@dataclass(eq=False)
class _Remote:
    """A station as the driver sees it."""

    sources: tuple[Source, ...]
    actor: Any
    asked: Any
    """The reference of the report that is waited for."""
    started: float = field(default_factory=time.monotonic)
    last: Report | None = None
    """Without what was heard: a clip is large."""
    turned: bool = False
    """Whether its loop has turned since all had."""

    @property
    def names(self) -> str:
        """The names of its sources."""
        return ", ".join(source.name for source in self.sources)


class Stations:
    """Watches cameras on the cluster until all have ended, or until it is stopped; used by one thread.

    Args:
        sources: spread over `number` stations, at most one per source.
        model: in use at first.
        announcer: tells what the stations do.
        folder: takes their clips and pictures.
        metrics: of all sources.
    """

    def __init__(
        self, sources: Sequence[Source], number: int, model: ModelFiles, settings: LiveConfig, max_pixels: int,
        announcer: Announcer, folder: Path, metrics: Metrics,
    ) -> None:  # fmt: skip
        self._model, self._settings, self._max_pixels = model, settings, max_pixels
        self._announcer, self._folder, self._metrics = announcer, folder, metrics
        groups = [tuple(sources[first::number]) for first in range(min(number, len(sources)))]
        self._deaths = dict.fromkeys(groups, 0)
        """Of stations in a row that died before their first report."""
        self._remotes = [self._start(group) for group in groups]
        self._next: list[ModelFiles] = []
        self._past: list[Report] = []
        """The last reports of stations that have ended or died."""
        self._waited = False

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._model.name

    @property
    def failed(self) -> list[str]:
        """Files that could not be read to their end, with the reason."""
        return [line for report in self._reports() for line in report.failed]

    @property
    def frames(self) -> int:
        """Frames of all cameras that were scored since the start."""
        return sum(report.frames for report in self._reports())

    @property
    def dropped(self) -> int:
        """Frames of all cameras that were dropped since the start."""
        return sum(report.dropped for report in self._reports())

    def take_over(self, model: ModelFiles) -> None:
        """Use another model; any thread may call this."""
        self._next.append(model)

    def run(self, stop: threading.Event) -> None:
        """Watch until every source has ended, or until it is told to stop; open events are ended, cameras closed."""
        try:
            while self._remotes and not stop.is_set():
                self._turn(replaced=True)
                stop.wait(POLL_SECONDS)
            for remote in list(self._remotes):
                if remote.last is None:  # it waits for room in the cluster, or has only begun to load
                    ray.kill(remote.actor)
                    self._leave(remote)
                else:
                    remote.actor.stop.remote()
            until = time.monotonic() + STOP_SECONDS
            while self._remotes and time.monotonic() < until:
                self._turn(replaced=False)
                time.sleep(POLL_SECONDS)
        finally:
            for remote in self._remotes:
                ray.kill(remote.actor)
                self._end_open(remote)

    def _turn(self, replaced: bool) -> None:
        if all(remote.turned for remote in self._remotes):
            self._metrics.turned()
            for remote in self._remotes:
                remote.turned = False
        while self._next:
            self._model = self._next.pop(0)
            for remote in self._remotes:
                remote.actor.take_over.remote(self._model)
        asked = {remote.asked: remote for remote in self._remotes}
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=POLL_SECONDS, fetch_local=False)
        for reference in ready:
            self._hear(asked[reference], replaced)
        self._say_what_waits()

    def _hear(self, remote: _Remote, replaced: bool) -> None:
        try:
            report: Report = ray.get(remote.asked)
        except ray.exceptions.RayTaskError as error:
            raise JobError(f"the station of {remote.names} failed: {cluster.reason(error)}") from None
        except ray.exceptions.RayError as error:  # also a report that was made, and lost with its machine
            self._lost(remote, error, replaced)
            return
        remote.last, self._deaths[remote.sources] = replace(report, messages=(), notes=(), file=None), 0
        remote.turned |= report.turned
        for level, line in report.lines:
            log.log(level, "%s", line)
        for message in report.messages:
            self._announcer.pass_on(message)
        tell_again(report.notes, self._metrics)
        if report.file:
            self._keep(report.file)
        if report.ended:
            self._leave(remote)
        else:
            remote.asked = remote.actor.report.remote(report.number + 1)

    def _keep(self, file: tuple[str, bytes]) -> None:
        try:
            keep_file(self._folder, file)
        except OSError as error:  # a full disk must not blind all cameras
            log.warning("%s is lost: %s", file[0], error.strerror)

    def _lost(self, remote: _Remote, error: Exception, replaced: bool) -> None:
        """End what is open of a station that died, and watch its sources anew."""
        ray.kill(remote.actor)  # it may live, and only its report be lost
        log.warning("the station of %s died (%s)", remote.names, cluster.reason(error))
        self._deaths[remote.sources] += 1
        if self._deaths[remote.sources] == MOST_DEATHS:  # what ends it would do so again
            raise JobError(f"the station of {remote.names} died {MOST_DEATHS} times before it saw anything")
        self._end_open(remote)
        self._leave(remote)
        if replaced:
            self._remotes.append(self._start(remote.sources))

    def _end_open(self, remote: _Remote) -> None:
        names = {source.name for source in remote.sources}
        self._announcer.break_off(names)
        for name in names:
            self._metrics.sees(name, False)

    def _leave(self, remote: _Remote) -> None:
        self._remotes.remove(remote)
        if remote.last:
            self._past.append(remote.last)

    def _start(self, sources: tuple[Source, ...]) -> _Remote:
        actor = _station(sources, self._model, self._settings, self._max_pixels)
        return _Remote(sources, actor, actor.report.remote(1))

    def _say_what_waits(self) -> None:
        late = [
            each.names for each in self._remotes if not each.last and time.monotonic() - each.started > WAITING_SECONDS
        ]
        if late and not self._waited:
            log.warning("nothing is heard from the stations of %s yet: has the cluster room for them?", "; ".join(late))
        self._waited = bool(late)

    def _reports(self) -> list[Report]:
        return [*self._past, *(remote.last for remote in self._remotes if remote.last)]


def _station(sources: Sequence[Source], model: ModelFiles, settings: LiveConfig, max_pixels: int) -> Any:
    """Start the actor of a station where the cluster has room: on a GPU if there are any."""
    needed = {"num_gpus": 1} if cluster.gpus() else {"num_cpus": 0.9}
    kind = ray.remote(_Actor).options(**needed, scheduling_strategy="SPREAD", max_restarts=0)
    return kind.remote(sources, model, settings, max_pixels)
