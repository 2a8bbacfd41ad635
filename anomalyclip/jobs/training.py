"""The stages of `workflows/train.py` up to a model's files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import torch

from anomalyclip.cli import Job
from anomalyclip.config import to_yaml
from anomalyclip.data.manifest import load_manifest, manifest_digest
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.jobs.common import Extracted, warn_of_unknown
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.runs import RunFolder, open_run, result_settings
from anomalyclip.simulation.benchmark import draw_benchmark
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.checkpoints import Checkpoint, CheckpointStore, load_learnt_state
from anomalyclip.training.plan import TrainingPlan, plan_training
from anomalyclip.training.ray_training import FitPlan, fit_on_ray
from anomalyclip.training.sampling import Bag
from anomalyclip.training.setup import build_model
from anomalyclip.training.validation import AUC, best_epoch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Training:
    """A training job that was found to be in order."""

    manifest_path: Path
    manifest: pl.DataFrame
    manifest_digest: str
    plan: TrainingPlan
    backbone: Backbone
    run: RunFolder


def drawn_manifest(storage: Storage) -> Path:
    """Return the manifest of the benchmark, for those without videos, drawn where that is still to do."""
    return draw_benchmark(Path(storage.path("benchmark")) if storage.is_local else scratch() / "benchmark")


def prepare(job: Job, manifest_path: Path | None) -> Training:
    """Check everything that can be wrong before work starts, and open the run's folder; raises UsageError."""
    path = manifest_path or drawn_manifest(job.storage)
    manifest = load_manifest(path, job.config.data.frame_tolerance)
    plan = plan_training(manifest, job.config)
    warn_of_unknown(plan.unknown_classes)
    if not (manifest["split"] == "test").any():
        log.warning("the manifest has no test videos: the model will be registered without figures")
    backbone = load_backbone(job.config.backbone)
    build_model(plan.classes, backbone, torch.zeros(backbone.dim), job.config)  # refuses what it cannot read
    digest = manifest_digest(manifest)
    content = {"manifest": digest, "backbone": backbone.identity, **result_settings(job.config)}
    run = open_run(job.storage, "runs", job.name, path.resolve().parent.name, content, job.fresh)
    return Training(path, manifest, digest, plan, backbone, run)


def describe(tracking: TrackedRun, job: Job, training: Training) -> None:
    """Keep what the run is made of: configuration, tags and the manifest."""
    job.storage.write(f"{training.run.key}/config.yaml", to_yaml(job.config).encode())
    tracking.log_config(job.config)
    tracking.log_tags(
        {
            "dataset": training.manifest_path.resolve().parent.name,
            "manifest_digest": training.manifest_digest,
            "protocol": job.config.training.protocol,
            "backbone": training.backbone.name,
            "backbone_identity": training.backbone.identity,
        }
    )
    source = str(training.manifest_path.resolve())
    train = training.plan.manifest.filter(pl.col("split") != "test")
    tracking.log_dataset(train, source, training.run.name, "training")


def settle(job: Job, training: Training, extracted: Extracted) -> Training:
    """Plan again where videos could not be decoded, so that those left are split as the protocol wants it.

    Raises UsageError where too little is left, or the features are not those of an earlier attempt.
    """
    training.run.keep_features(extracted.digest())
    return replace(training, plan=plan_training(extracted.manifest, job.config))


def train(tracking: TrackedRun, job: Job, training: Training, extracted: Extracted) -> Checkpoint:
    """Fit, and fit again on all training videos where that is asked for; returns the checkpoint to use."""
    tracking.log_tags({"feature_fingerprint": extracted.store.fingerprint})
    bags = {split: training.plan.bags(split) for split in ("train", "val")}
    checkpoints = _fit(tracking, job, training, extracted, bags["train"], bags["val"])
    history = checkpoints.history()
    epoch = best_epoch(history)
    best = {f"best_{name.removeprefix('val/')}": value for name, value in history[epoch].items() if "val/" in name}
    tracking.log_metrics({"best_epoch": float(epoch), **best})
    if AUC in history[epoch]:
        log.info("best epoch on the validation part: %d, video-level AUC %.4f (epochs without learning rate do not "
                 "count; ties go to the lower loss)", epoch, history[epoch][AUC])  # fmt: skip
    if bags["val"] and job.config.training.final_fit:
        everything = bags["train"] + bags["val"]
        checkpoints = _fit(tracking, job, training, extracted, everything, [], final_epochs=epoch + 1)
    return checkpoints.load(epoch)


def build_bundle(job: Job, training: Training, extracted: Extracted, checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint's model to a local folder, and publish it in the run's folder."""
    weights = checkpoint.weights
    model = build_model(training.plan.classes, training.backbone, weights["normality_prototype"], job.config)
    load_learnt_state(model, weights)
    card = ModelCard(
        classes=model.classes,
        normal_index=model.normal_index,
        model=job.config.model,
        backbone=job.config.backbone,
        backbone_identity=training.backbone.identity,
        sampling_rate=job.config.extraction.sampling_rate,
        precision=extracted.precision,
    )
    bundle = folder / "model"
    save_bundle(bundle, weights, model.with_fixed_directions().directions(), card)
    job.storage.publish_folder(bundle, f"{training.run.key}/model")
    return bundle


def _fit(
    tracking: TrackedRun,
    job: Job,
    training: Training,
    extracted: Extracted,
    train_bags: Sequence[Bag],
    validation_bags: Sequence[Bag],
    final_epochs: int | None = None,
) -> CheckpointStore:
    key = f"{training.run.key}/final" if final_epochs else training.run.key
    checkpoints = CheckpointStore(job.storage, key)
    epochs = final_epochs or job.config.training.epochs
    ids = {bag.video_id for bag in [*train_bags, *validation_bags]}
    sources = extracted.manifest.filter(pl.col("video_id").is_in(ids)).select("video_id", "source")
    plan = FitPlan(
        config=job.config,
        storage_root=job.storage.root,
        key=key,
        classes=training.plan.classes,
        train=train_bags,
        validation=validation_bags,
        backbone_identity=training.backbone.identity,
        fingerprint=extracted.store.fingerprint,
        sources=dict(sources.iter_rows()),
        stop_after=epochs,
    )
    log.info(
        "training on %d videos, %d held out, %d epochs, %d workers",
        len(train_bags), len(validation_bags), epochs, job.config.training.workers,
    )  # fmt: skip
    with tracking.following(checkpoints.history, "final/" if final_epochs else ""):
        if len(checkpoints.history()) < epochs:
            fit_on_ray(plan)
    return checkpoints
