"""Registered models: put there with their figures, found again by URI, run or folder."""

import json
import logging
import re
from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.metrics import Metrics
from anomalyclip.model.bundle import CARD, TENSORS, load_card
from anomalyclip.storage import scratch
from anomalyclip.tracking.pyfunc_model import model_signature
from anomalyclip.tracking.runs import TrackedRun, connect, logged_model, reason

log = logging.getLogger("anomalyclip")

LOADER = "anomalyclip.tracking.pyfunc_model"
EXAMPLE_FRAMES = 4


def log_model(tracking: TrackedRun, bundle: Path) -> str:
    """Log a bundle as the run's model, with signature and input example, and return the logged model's id.

    A run has one model: what an earlier attempt logged is found again.
    """
    if (logged := tracking.logged_model()) is not None:
        return logged
    card = load_card(bundle)
    example = load_file(bundle / TENSORS)["normality_prototype"].expand(EXAMPLE_FRAMES, -1).double().tolist()
    info = mlflow.pyfunc.log_model(
        name="model",
        loader_module=LOADER,
        data_path=str(bundle),
        signature=model_signature(card),
        input_example=pd.DataFrame({"features": [example]}),
        pip_requirements=["anomalyclip"],
    )
    return str(info.model_id)


def register_model(tracking: TrackedRun, model_id: str, name: str, metrics: Metrics | None) -> str:
    """Register a logged model, once, with its headline figures in its tags, and return the version's number."""
    source = f"models:/{model_id}"
    figures = {} if metrics is None else metrics.headline()
    for version in tracking.client.search_model_versions(f"name='{name}'"):
        if version.source == source:
            return str(version.version)
    tags = {key: f"{value:.6f}" for key, value in figures.items()}
    with suppress(MlflowException):  # it exists already, or creating the version says what is wrong
        tracking.client.create_registered_model(name)
    version = tracking.client.create_model_version(
        name, source, tracking.run_id, {"run_id": tracking.run_id, **tags}, model_id=model_id
    )
    _link(tracking.client, model_id, name, str(version.version))
    log.info("registered models:/%s/%s", name, version.version)
    return str(version.version)


def find_bundle(model: str, tracking_uri: str) -> tuple[Path, str | None]:
    """Return the local bundle of a model and, where MLflow knows it, the id of its logged model.

    `model` is a registry URI (`models:/NAME/VERSION`, `models:/NAME@ALIAS`), a run's id, or a folder: a bundle
    or the folder of a run. Raises UsageError if there is no such model.
    """
    folder = Path(model)
    for candidate in (folder, folder / "model"):
        if (candidate / CARD).is_file():
            return candidate, None
    if not model.startswith("models:/") and not re.fullmatch("[0-9a-f]{32}", model):
        raise UsageError(f"no model {model}: give models:/NAME/VERSION, a run's id, or a folder that holds {CARD}")
    client = connect(tracking_uri)
    try:
        uri = model
        if not model.startswith("models:/"):
            logged = logged_model(client, model)
            if logged is None:
                raise UsageError(f"run {model} has logged no model")
            uri = f"models:/{logged}"
        info = mlflow.models.get_model_info(uri)
        target = scratch() / "models" / str(info.model_id)
        target.mkdir(parents=True, exist_ok=True)
        local = mlflow.artifacts.download_artifacts(uri, dst_path=str(target))
    except (MlflowException, OSError) as error:
        raise UsageError(f"no model {model} at {tracking_uri}: {reason(error)}") from None
    data = info.flavors["python_function"].get("data", "")
    return Path(local) / data, info.model_id


def _link(client: mlflow.MlflowClient, model_id: str, name: str, version: str) -> None:
    """Let MLflow's UI show a version beside its logged model."""
    tag, link = "mlflow.modelVersions", {"name": name, "version": version}
    links = json.loads(client.get_logged_model(model_id).tags.get(tag, "[]"))
    if link not in links:  # a server has done it already
        client.set_logged_model_tags(model_id, {tag: json.dumps([*links, link])})
