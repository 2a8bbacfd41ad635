"""Life of a run, the same for every command: start, resumption, stages and the result of a finished one."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anomalyclip.errors import JobError
from anomalyclip.job import Job
from anomalyclip.progress import working
from anomalyclip.runs import AnyResult, RunFolder

if TYPE_CHECKING:
    from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")


def finished(job: Job, run: RunFolder, as_type: type[AnyResult]) -> AnyResult | None:
    """Return the result of a finished run, and log that nothing is left to do; None if there is work."""
    result = None if job.fresh else run.result(as_type)
    if result is not None:
        run.remove_dead_locks()
        log.info("%s %s is finished: its result is used", run.kind.rstrip("s"), run.name)
    return result


@contextmanager
def tracked(
    job: Job, run: RunFolder, experiment: str | None = None, on_ray: bool = True, extends: bool = False
) -> Iterator["TrackedRun"]:
    """Start or resume a run: its folder, the cluster if it works `on_ray`, and its MLflow run.

    Nothing is written before MLflow has answered. A run that `extends` its result may have one. Raises UsageError if
    MLflow does not answer, or no cluster can be joined; JobError if another process works on the run.
    """
    from anomalyclip import cluster  # here: Ray and MLflow take seconds to import, and not every job needs them
    from anomalyclip.tracking.runs import tracked_run
    from anomalyclip.tracking.server import reach

    with working("connect to MLflow"):
        reach(job.tracking_uri)
    with run.exclusive():
        if run.is_finished() and not (job.fresh or extends):
            raise JobError(f"{run.key} was finished by another process just now: the same command returns its result")
        if on_ray:
            with working("start Ray"):
                cluster.connect(job.tracking_uri)
        run.start(job.fresh)
        resumed, experiment = run.mlflow_run(job.tracking_uri), experiment or job.config.tracking.experiment
        with tracked_run(job.tracking_uri, job.storage, experiment, run.name, resumed) as tracking:
            run.keep_mlflow_run(job.tracking_uri, tracking.run_id)
            log.info("run %s, in MLflow %s at %s", run.name, tracking.run_id, job.tracking_uri)
            yield tracking


@contextmanager
def stage(name: str, does: str) -> Iterator[None]:
    """Log what a stage does before it starts, and how long it took."""
    log.info("%s: %s", name, does)
    started = time.monotonic()
    with working(name):
        yield
    log.info("%s: done in %.1f s", name, time.monotonic() - started)


def where_runs_are(tracking_uri: str) -> str:
    """Return the way to see the runs: the server's address, or the command that serves this database."""
    if not tracking_uri.startswith("sqlite:"):
        return tracking_uri
    beside_python = Path(sys.executable).parent / "mlflow"
    on_path = shutil.which("mlflow") == str(beside_python)
    command = "mlflow" if on_path else os.path.relpath(beside_python)
    return f"{command} ui --backend-store-uri {tracking_uri}"
