"""Predictions tables found by every name that a run or a model has."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException

from anomalyclip.config import digest
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.report import PREDICTIONS
from anomalyclip.job import Job
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.runs import connect, reason

Answer = TypeVar("Answer")

EVALUATION = "evaluation"
"""Folder of a run, and of its artifacts, that holds the predictions."""


def find_predictions(name: str, job: Job) -> Path:
    """Return a local predictions table.

    `name` is a registry URI (`models:/NAME/VERSION`, `models:/NAME@ALIAS`) for what the model's own training run
    predicted, the id of a run or an evaluation in MLflow, its name or folder in the storage root, or a file.
    Raises UsageError where there is none, saying how to make it.
    """
    if name.startswith("models:/"):
        return _of_model(name, job.tracking_uri)
    path = Path(name)
    for candidate in (path, path / PREDICTIONS, path / EVALUATION / PREDICTIONS):
        if candidate.is_file():
            return candidate
    if (key := _key(name, job.storage)) is not None:
        return _fetched(job.storage, key)
    if re.fullmatch("[0-9a-f]{32}", name):
        return _of_run(name, job.tracking_uri, name)
    raise UsageError(
        f"no predictions {name}: give models:/NAME/VERSION, the id of a run, the name or folder of one in "
        f"{job.storage.root}, or a {PREDICTIONS}; workflows/evaluate.py makes them"
    )


def _key(name: str, storage: Storage) -> str | None:
    """Key of a run's predictions in the storage root, by URI or key of either, or the run's name; None without any."""
    root, own = (uri.partition("?")[0].rstrip("/") for uri in (storage.root, name))
    own = own.removeprefix(f"{root}/").removesuffix(f"/{PREDICTIONS}").removesuffix(f"/{EVALUATION}")
    folders = [own, f"runs/{own}", f"evaluations/{own}"]
    found = [folder for folder in folders if storage.is_complete(f"{folder}/{EVALUATION}")]
    if len(found) > 1:
        raise UsageError(f"{name} is the name of {' and of '.join(found)}: say which")
    return f"{found[0]}/{EVALUATION}/{PREDICTIONS}" if found else None


def _fetched(storage: Storage, key: str) -> Path:
    if storage.is_local:
        return Path(storage.path(key))
    target = scratch() / "predictions" / digest(storage.uri(key)) / PREDICTIONS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(storage.read(key))
    return target


def _of_model(name: str, tracking_uri: str) -> Path:
    connect(tracking_uri)
    run_id = _asked(name, tracking_uri, lambda: mlflow.models.get_model_info(name).run_id)
    if run_id is None:
        raise _without(name)
    return _of_run(str(run_id), tracking_uri, name)


def _of_run(run_id: str, tracking_uri: str, name: str) -> Path:
    client = connect(tracking_uri)
    artifact = f"{EVALUATION}/{PREDICTIONS}"
    files = _asked(name, tracking_uri, lambda: client.list_artifacts(run_id, EVALUATION))
    if artifact not in [file.path for file in files]:
        raise _without(name)
    target = scratch() / "predictions" / run_id
    target.mkdir(parents=True, exist_ok=True)
    return Path(_asked(name, tracking_uri, lambda: client.download_artifacts(run_id, artifact, str(target))))


def _asked(name: str, tracking_uri: str, question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except (MlflowException, OSError) as error:
        raise UsageError(f"no predictions of {name} at {tracking_uri}: {reason(error)}") from None


def _without(name: str) -> UsageError:
    return UsageError(
        f"{name} has no predictions of its own: make them with `python workflows/evaluate.py {name} MANIFEST`, and "
        "give the run that this reports"
    )
