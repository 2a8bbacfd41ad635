"""The stages of `workflows/train.py` up to a model's files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import torch

from anomalyclip.cli import Job
from anomalyclip.config import RunConfig, to_yaml
from anomalyclip.data.manifest import load_manifest, manifest_digest
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.imported import find_import
from anomalyclip.jobs.common import Extracted, imported_store, obtain_features, warn_of_unknown
from anomalyclip.runs import RunFolder, open_run, result_settings
from anomalyclip.simulation.benchmark import draw_benchmark
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.checkpoints import Checkpoint
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.plan import TrainingPlan, plan_training, warnings_after, warnings_before
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.sampling import steps_per_epoch
from anomalyclip.training.setup import build_model, save_trained
from anomalyclip.training.validation import AUC, best_epoch

log = logging.getLogger("anomalyclip")

MODEL_KIND = "anomalyclip"
"""Tag of runs that train or score the method, beside baselines."""


@dataclass(frozen=True)
class Training:
    """A training job that was found to be in order."""

    manifest_path: Path
    manifest: pl.DataFrame
    manifest_digest: str
    plan: TrainingPlan
    backbone: Backbone | None
    """None where imported features need no text tower."""
    run: RunFolder

    @property
    def backbone_identity(self) -> str | None:
        """Hash of the image tower that goes with the text tower; None without a backbone."""
        return self.backbone.identity if self.backbone else None


def drawn_manifest(storage: Storage) -> Path:
    """Return the manifest of the benchmark, for those without videos, drawn where that is still to do."""
    folder = _benchmark_folder(storage)
    log.info("the benchmark's videos, drawn where they are missing: %s", folder)
    return draw_benchmark(folder)


def _benchmark_folder(storage: Storage) -> Path:
    return Path(storage.path("benchmark")) if storage.is_local else scratch() / "benchmark"


def prepare(
    job: Job,
    manifest_path: Path | None,
    kind: str = "runs",
    needs_test: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
    begun: bool = False,
) -> Training:
    """Check everything that can be wrong before work starts, and open the run's folder; raises UsageError.

    `more` is what decides the result beside manifest, backbone and settings; `begun` refuses a new run.
    """
    backbone = None if _is_without_text(job.config) else load_backbone(job.config.backbone)
    path = manifest_path or drawn_manifest(job.storage)
    manifest = load_manifest(path, job.config.data.frame_tolerance)
    if job.config.data.features:
        imported_store(job, manifest, job.config.data.features)
    plan = plan_training(manifest, job.config)
    warn_of_unknown(plan.unknown_classes)
    if not (manifest["split"] == "test").any():
        if needs_test:
            raise UsageError(f"manifest {path} has no rows of split test to compare on")
        log.warning("the manifest has no test videos: the model will be registered without figures")
    build_model(plan.classes, backbone, torch.zeros(_feature_dim(job, backbone)), job.config)  # refuses what is wrong
    digest = manifest_digest(manifest)
    content = {"manifest": digest, "backbone": backbone and backbone.identity, **result_settings(plan.config), **more}
    run = open_run(job.storage, kind, job.name, path.resolve().parent.name, content, job.fresh, begun)
    return Training(path, manifest, digest, plan, backbone, run)


def describe(tracking: TrackedRun, job: Job, training: Training) -> None:
    """Keep what the run is made of: configuration, tags and the manifest."""
    config = training.plan.config
    job.storage.write(f"{training.run.key}/config.yaml", to_yaml(config).encode())
    tracking.log_config(config)
    tracking.log_tags(
        {
            "dataset": training.manifest_path.resolve().parent.name,
            "manifest_digest": training.manifest_digest,
            "protocol": job.config.training.protocol,
            "model_kind": MODEL_KIND,
            "backbone": training.backbone.name if training.backbone else "none",
            "backbone_identity": training.backbone_identity or "none",
            "imported_features": job.config.data.features or "none",
        }
    )
    source = str(training.manifest_path.resolve())
    train = training.plan.manifest.filter(pl.col("split") != "test")
    tracking.log_dataset(train, source, training.run.name, "training")


def obtain(job: Job, training: Training) -> Extracted:
    """Return the features of all videos of the manifest."""
    return obtain_features(job, job.config.extraction, training.manifest, training.backbone, job.config.data.features)


def settle(job: Job, training: Training, extracted: Extracted) -> Training:
    """Plan again where videos could not be decoded, so that those left are split as the protocol wants it.

    Raises UsageError where too little is left, or the features are not those of an earlier attempt.
    """
    needs = extracted.needs(training.manifest_path, training.backbone_identity)
    training.run.keep_features(extracted.digest(), needs)
    return replace(training, plan=plan_training(extracted.manifest, training.plan.config))


def fit_plan(job: Job, training: Training, extracted: Extracted) -> FitPlan:
    """Return the fit on the training part, for workers that know nothing of the job."""
    bags = {split: training.plan.bags(split) for split in ("train", "val")}
    ids = {bag.video_id for part in bags.values() for bag in part}
    sources = extracted.manifest.filter(pl.col("video_id").is_in(ids)).select("video_id", "source")
    return FitPlan(
        config=training.plan.config,
        storage_root=job.storage.root,
        key=training.run.key,
        classes=training.plan.classes,
        train=bags["train"],
        validation=bags["val"],
        backbone_identity=training.backbone_identity,
        fingerprint=extracted.store.fingerprint,
        sources=dict(sources.iter_rows()),
    )


def train(tracking: TrackedRun, job: Job, training: Training, extracted: Extracted) -> Checkpoint:
    """Fit, and fit again on all training videos where that is asked for; returns the checkpoint to use."""
    tracking.log_tags({"feature_fingerprint": extracted.store.fingerprint})
    plan = fit_plan(job, training, extracted)
    counts = extracted.manifest.join(extracted.store.index(), left_on="source", right_on="video")
    is_benchmark = training.manifest_path.resolve().is_relative_to(_benchmark_folder(job.storage).resolve())
    for line in warnings_before(training.plan, dict(counts.select("video_id", "frames").iter_rows()), is_benchmark):
        log.warning("%s", line)
    _fit(tracking, plan)
    history = plan.checkpoints().history()
    epoch = best_epoch(history)
    tracking.log_metrics(chosen(history))
    if AUC in history[epoch]:
        log.info("best epoch on the validation part: %d, video-level AUC %.4f (epochs without learning rate do not "
                 "count; ties go to the lower loss)", epoch, history[epoch][AUC])  # fmt: skip
    for line in warnings_after(history, plan.validation):
        log.warning("%s", line)
    if plan.validation and job.config.training.final_fit:
        plan = plan.final(epoch + 1)
        _fit(tracking, plan, "final/")
    return plan.checkpoints().load(epoch)


def chosen(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """Return which epoch was chosen, and its figures on the validation part."""
    epoch = best_epoch(history)
    best = {f"best_{name.removeprefix('val/')}": value for name, value in history[epoch].items() if "val/" in name}
    return {"best_epoch": float(epoch), **best}


def build_bundle(job: Job, training: Training, extracted: Extracted, checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint's model to a local folder, and publish it in the run's folder."""
    weights, backbone = checkpoint.weights, training.backbone
    model = build_model(training.plan.classes, backbone, weights["normality_prototype"], job.config)
    bundle = folder / "model"
    save_trained(bundle, model, weights, job.config, training.backbone_identity, extracted.precision)
    job.storage.publish_folder(bundle, f"{training.run.key}/model")
    return bundle


def _is_without_text(config: RunConfig) -> bool:
    return config.data.features is not None and config.model.directions == "free"


def _feature_dim(job: Job, backbone: Backbone | None) -> int:
    if backbone is not None and job.config.data.features is None:
        return backbone.dim
    return find_import(job.storage, job.config.data.features or "").dim


def _fit(tracking: TrackedRun, plan: FitPlan, prefix: str = "") -> None:
    epochs = plan.stop_after or plan.config.training.epochs
    training = plan.config.training
    steps = steps_per_epoch(plan.train, training)
    log.info(
        "training on %d videos, %d held out: %d epochs of %d steps (%d in all), batches of %d videos, %d workers",
        len(plan.train), len(plan.validation), epochs, steps, epochs * steps, training.batch_size, training.workers,
    )  # fmt: skip
    checkpoints = plan.checkpoints()
    with tracking.following(checkpoints.history, prefix):
        if len(checkpoints.history()) < epochs:
            fit_on_ray(plan)
