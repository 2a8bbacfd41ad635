"""Logged and registered models: files, requirements, tags and descriptions."""

import json
import logging
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.figures import headlines
from anomalyclip.model.bundle import bundle_digest, load_card
from anomalyclip.runs import TENSORS
from anomalyclip.tracking import pages
from anomalyclip.tracking.files import version_of
from anomalyclip.tracking.pyfunc_model import model_signature
from anomalyclip.tracking.runs import TrackedRun, logged_model
from anomalyclip.tracking.tags import MOST_OF_VERSION, fitting_json
from anomalyclip.tracking.verification import DIGEST, LOADER

log = logging.getLogger("anomalyclip")

EXAMPLE_FRAMES = 4
NEW_CLASSES = "new_classes"
"""Tag of a run and of a version: which names of new classes it was tried with, on which data, and how well."""
VERSION_TAGS = (
    "dataset", "demonstration", "backbone", "imported_features", "protocol", "classes", "above_chance",
    "detection_threshold", "alert_threshold", "operating_point", DIGEST,
    *(baseline.gate for baseline in BASELINES.values()), pages.WARNING, NEW_CLASSES,
)  # fmt: skip
"""Tags that a version copies from its run."""


def log_model(tracking: TrackedRun, bundle: Path) -> str:
    """Log a bundle as the run's model, with signature and input example, and return the logged model's id.

    A run has one model: what an earlier attempt logged is found again.
    """
    if (logged := logged_model(tracking.client, tracking.run_id)) is not None:
        return logged
    card = load_card(bundle)
    tracking.log_tags({DIGEST: bundle_digest(bundle)})
    example = load_file(bundle / TENSORS)["normality_prototype"].expand(EXAMPLE_FRAMES, -1).double().tolist()
    info = mlflow.pyfunc.log_model(
        name="model",
        loader_module=LOADER,
        data_path=str(bundle),
        signature=model_signature(card),
        input_example=pd.DataFrame({"features": [example]}),
        pip_requirements=[f"anomalyclip=={version('anomalyclip')}"],
    )
    return str(info.model_id)


def register_model(tracking: TrackedRun, model_id: str, name: str, standing: str | None = None) -> str:
    """Register a logged model, once, and return the version's number.

    The version's tags and description state what it was made from and how good it is: its run's headline figures, and
    its `standing` beside chance and the baselines, a sentence (None if it is not known).
    """
    client, source = tracking.client, f"models:/{model_id}"
    for found in client.search_model_versions(f"name='{name}'"):
        if found.source == source:
            return str(found.version)
    run = tracking.read()
    tags = {"run_id": tracking.run_id}
    figures = ((each.name, run.data.metrics.get(each.name)) for each in headlines())
    tags |= {key: f"{value:.6f}" for key, value in figures if value is not None}
    tags |= {key: run.data.tags[key] for key in VERSION_TAGS if run.data.tags.get(key, "none") != "none"}
    with suppress(MlflowException):  # it exists already, or creating the version states what is wrong
        client.create_registered_model(name, description=pages.MODEL_DESCRIPTION)
    note = pages.version_note(run, standing)
    created = client.create_model_version(name, source, tracking.run_id, tags, description=note, model_id=model_id)
    _link(client, model_id, name, str(created.version))
    log.info("registered models:/%s/%s", name, created.version)
    return str(created.version)


def tag_new_classes(tracking: TrackedRun, model: str) -> None:
    """Add what the run's tag of new classes holds to that of the registered version `model`, if it is one."""
    if (found := version_of(tracking.client, model)) is None:
        return
    kept = json.loads(found.tags.get(NEW_CLASSES, "{}")) | json.loads(tracking.read().data.tags[NEW_CLASSES])
    tracking.client.set_model_version_tag(found.name, found.version, NEW_CLASSES, fitting_json(kept, MOST_OF_VERSION))


def _link(client: mlflow.MlflowClient, model_id: str, name: str, version: str) -> None:
    """Let MLflow's UI show a version beside its logged model."""
    tag, link = "mlflow.modelVersions", {"name": name, "version": version}
    links = json.loads(client.get_logged_model(model_id).tags.get(tag, "[]"))
    if link not in links:  # a server has done it already
        client.set_logged_model_tags(model_id, {tag: json.dumps([*links, link])})
