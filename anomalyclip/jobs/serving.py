"""Serving: a scoring server, started on a copy of a registered model that was verified."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalyclip import progress
from anomalyclip.job import Job
from anomalyclip.storage import scratch
from anomalyclip.tracking.pyfunc_model import VIDEO_ROOT
from anomalyclip.tracking.serving import SERVED, ServedModel

log = logging.getLogger("anomalyclip")

SERVER = "anomalyclip.tracking.scoring_server:new_app"
STANDARD_ERROR = 2
"""Where the server's lines go: standard output is for results."""


def serve(job: Job, model: str, host: str, port: int, workers: int, reload: float) -> int:
    """Serve a registered model until the server ends or is told to; returns its exit code.

    Every `reload` seconds the model's alias is looked up; a version that it has moved to takes over without a gap.
    Raises UsageError before anything listens if the model is refused. SIGTERM and SIGINT end the server; its code is
    then 128 and the signal's number, as a shell has it.
    """
    with TemporaryDirectory(dir=scratch(), prefix="served-") as folder:
        served = ServedModel(model, job.tracking_uri, Path(folder))
        log.info("verified: %s; scoring at http://%s:%d/invocations", served.look(), host, port)
        if not os.environ.get(VIDEO_ROOT):
            log.warning("%s is not set: rows with `features` are scored, videos by `path` are refused", VIDEO_ROOT)
        command = [sys.executable, "-m", "uvicorn", "--factory", SERVER, "--no-access-log"]
        command += ["--host", host, "--port", str(port), "--workers", str(workers)]
        with progress.waiting(), served.followed(reload):
            return _run(command, _environment(job, Path(folder)))


def _environment(job: Job, folder: Path) -> dict[str, str]:
    """Return the server's environment: it needs the storage root, and no login of the tracking server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_TRACKING_")}
    (metrics := folder / "metrics").mkdir()
    own = {"ANOMALYCLIP_STORAGE": job.storage.root, SERVED: str(folder), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    return kept | own


def _run(command: list[str], environment: dict[str, str]) -> int:
    # a session of its own: the server may start processes below, and Ctrl-C would reach them and us
    server = subprocess.Popen(command, env=environment, stdout=STANDARD_ERROR, start_new_session=True)
    with _ending(server):
        code = server.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _ending(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a server with all its processes when this one is told to end."""

    def end(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        end()
        for number, handler in before.items():
            # None: what handled it was not set from Python, and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
