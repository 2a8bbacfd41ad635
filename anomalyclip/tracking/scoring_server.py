"""The scoring server's process: MLflow's scoring app on a verified copy, which may be replaced while it answers.

It asks no tracking server. Which copy it serves is told by a file, which the process above it rewrites when the alias
of the model has moved.
"""

import asyncio
import json
import logging
import os
import threading
import time
from pathlib import Path

import mlflow
from mlflow.pyfunc import scoring_server
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomalyclip.tracking.serving import CURRENT, SERVED

log = logging.getLogger("anomalyclip")

AT_ONCE = 2
"""Requests that a process scores at once: while one video is decoded, another is encoded."""
WAITING = 64
"""Requests of a process that may wait for that; any more are told to come back."""
LOOK_SECONDS = 1.0
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

ANSWERS = Counter("anomalyclip_requests", "Requests for scores, by the status of the answer", ["status"])
SECONDS = Histogram(
    "anomalyclip_request_seconds", "Time from a request to its answer, waiting included", buckets=BUCKETS
)
OPEN = Gauge("anomalyclip_requests_open", "Requests in work or waiting", multiprocess_mode="livesum")
MODEL = Gauge("anomalyclip_model_info", "1 for the version that is served", ["version"], multiprocess_mode="livemax")


class ScoringServer:
    """ASGI application: MLflow's of the current model, with a limit of open requests and with metrics."""

    def __init__(self, folder: Path) -> None:
        self._file, self._version = folder / CURRENT, ""
        self._version, self._app = self._load()
        self._seen = self._version
        self._free = asyncio.Semaphore(AT_ONCE)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/invocations` as MLflow does, or 503 if too many wait; `/metrics` for Prometheus."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await PlainTextResponse(_metrics())(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/invocations":
            await self._score(scope, receive, _counted(send))
        else:
            await self._app(scope, receive, send)

    def look(self) -> bool:
        """Take the copy that the file names now, if that is another; returns whether it did.

        A copy that does not load changes nothing, and is tried once.
        """
        named = json.loads(self._file.read_text())["version"]
        if named == self._seen:
            return False
        self._seen = named
        try:
            self._version, self._app = self._load()
        except Exception:  # whatever is wrong with the new model, the old one answers
            log.exception("the new version cannot be loaded: %s stays", self._version)
            return False
        return True

    def follow(self) -> None:
        """Look from time to time, for ever."""
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()

    async def _score(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= AT_ONCE + WAITING:
            told = PlainTextResponse("too many requests are waiting", 503, headers={"Retry-After": "5"})
            return await told(scope, receive, send)
        self._open += 1
        try:
            with OPEN.track_inprogress(), SECONDS.time():
                async with self._free:
                    await self._app(scope, receive, send)  # the old model answers what it has begun
        finally:
            self._open -= 1

    def _load(self) -> tuple[str, ASGIApp]:
        told = json.loads(self._file.read_text())
        app = scoring_server.init(mlflow.pyfunc.load_model(told["copy"]))
        if self._version:
            MODEL.labels(self._version).set(0)
        MODEL.labels(told["version"]).set(1)
        return told["version"], app


def new_app() -> ScoringServer:
    """Return the application, as uvicorn's `--factory` wants it."""
    server = ScoringServer(Path(os.environ[SERVED]))
    threading.Thread(target=server.follow, daemon=True).start()
    return server


def _metrics() -> str:
    """Return the figures of all processes of this server."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


def _counted(send: Send) -> Send:
    async def counted(message: Message) -> None:
        if message["type"] == "http.response.start":
            ANSWERS.labels(str(message["status"])).inc()
        await send(message)

    return counted
