"""Many small trainings at once: each a Ray task on one thread, from cached features to the predictions table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import polars as pl
import ray
import torch

from anomalyclip.config import Precision
from anomalyclip.device import resolve_device
from anomalyclip.evaluation.report import PREDICTIONS, write_report
from anomalyclip.evaluation.scoring import bundle_scorer, score_manifest
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage, scratch
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.setup import save_trained
from anomalyclip.training.validation import best_epoch

POLL_SECONDS = 2.0
Figures = dict[str, float]


@dataclass(frozen=True)
class Experiment:
    """A fit and the test videos that its model is scored on."""

    plan: FitPlan
    precision: Precision
    """Of the image tower that made the features."""
    manifest_digest: str
    test: pl.DataFrame
    """The counted test part of the manifest."""


class Follower(Protocol):
    """What is told how experiments, by name, are doing."""

    def look(self) -> None:
        """Every few seconds: look for new checkpoints."""

    def finished(self, name: str, figures: Figures) -> None:
        """An experiment has ended well."""

    def failed(self, name: str, reason: str) -> None:
        """An experiment has ended otherwise, why in one line."""


def run_side_by_side(experiments: Mapping[str, Experiment], follower: Follower) -> None:
    """Run experiments, as many at a time as the cluster has CPUs (or GPUs), until all have ended.

    What still runs when this is interrupted is ended.
    """
    gpu = 1 if ray.cluster_resources().get("GPU", 0) else 0
    running = {}
    for name, experiment in experiments.items():
        training = experiment.plan.config.training
        options = {"num_cpus": training.cpus_per_worker, "num_gpus": gpu, "max_retries": training.max_failures}
        running[ray.remote(**options)(_run).remote(experiment)] = name
    try:
        while running:
            ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            follower.look()
            for reference in ended:
                _tell(follower, running.pop(reference), reference)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _tell(follower: Follower, name: str, reference: "ray.ObjectRef[Figures]") -> None:
    try:
        figures = ray.get(reference)
    except ray.exceptions.RayError as error:
        follower.failed(name, last_line(error))
    else:
        follower.finished(name, figures)


def last_line(error: BaseException | str) -> str:
    """Return what an error of a process of the cluster comes down to."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()[-500:]


def _run(experiment: Experiment) -> Figures:
    """Train, or go on; publish model and evaluation in the fit's folder, and return the figures."""
    torch.set_num_threads(1)  # two trainings on a thread each beat one after the other on two
    plan, device = experiment.plan, resolve_device()
    model = run_plan(plan, device)
    epoch = best_epoch(plan.checkpoints().history())
    chosen = plan
    if plan.validation and plan.config.training.final_fit:
        chosen = plan.final(epoch + 1)
        model = run_plan(chosen, device)
    weights = chosen.checkpoints().load(epoch).weights
    storage = Storage(plan.storage_root)
    with TemporaryDirectory(dir=scratch()) as temporary:
        bundle, evaluation = Path(temporary) / "model", Path(temporary) / "evaluation"
        save_trained(bundle, model, weights, plan.config, plan.backbone_identity, experiment.precision)
        evaluation.mkdir()
        store = FeatureStore(storage, plan.fingerprint)
        scorer = bundle_scorer(bundle, device)
        score_manifest(scorer, experiment.test, experiment.manifest_digest, store, evaluation / PREDICTIONS)
        metrics = write_report(evaluation)
        storage.publish_folder(bundle, f"{plan.key}/model")
        storage.publish_folder(evaluation, f"{plan.key}/evaluation")
    return metrics.flat()
