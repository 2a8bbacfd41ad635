"""Training: a manifest of videos with video-level labels becomes a registered model with figures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import polars as pl
import torch

from anomalyclip.config import EpochChoice, RunConfig
from anomalyclip.data.base_novel import base_and_novel
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.comparison import Measured
from anomalyclip.evaluation.standing import Standing, unknown_standing
from anomalyclip.events.alarms import load_alarms
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.imported import require_import
from anomalyclip.features.text_tower import text_tower
from anomalyclip.job import Job
from anomalyclip.jobs import baselines, evaluation
from anomalyclip.jobs.alarms import alarm_tags, keep_alarms, normal_videos
from anomalyclip.jobs.baseline_models import makers
from anomalyclip.jobs.evaluation import ScoredResult
from anomalyclip.jobs.features import Extracted, imported_store, obtain_features, warn_of_unknown
from anomalyclip.jobs.lifecycle import finished, stage, tracked
from anomalyclip.jobs.sources import Source, load_source
from anomalyclip.methods import METHODS, NewNames
from anomalyclip.model.bundle import load_card
from anomalyclip.progress import Bar, bar
from anomalyclip.runs import CONFIG, MODEL, RunFolder, RunKind, find_run, result_settings
from anomalyclip.settings import to_yaml
from anomalyclip.storage import scratch
from anomalyclip.tracking.pages import WARNING, run_note
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.adaptation import Length, adapt
from anomalyclip.training.checkpoints import Checkpoint
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.plan import TrainingPlan, plan_training, warnings_after, warnings_before
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.sampling import steps_per_epoch
from anomalyclip.training.setup import build_model, median_and_longest, save_trained
from anomalyclip.training.validation import AUC, best_epoch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Training:
    """A checked training job."""

    source: Source
    plan: TrainingPlan
    backbone: Backbone | None
    """None if imported features need no text tower."""
    run: RunFolder
    novel: NewNames | None = None
    """Classes of the test part that it does not see, if it sees base classes alone."""

    @property
    def backbone_identity(self) -> str | None:
        """Hash of the image tower that belongs to the text tower; None without a backbone."""
        return self.backbone.identity if self.backbone else None


@dataclass(frozen=True, kw_only=True)
class TrainingResult(ScoredResult):
    """Result of a training."""

    model_version: str
    standing: str | None
    """The model compared with chance and the baselines; None without test videos."""
    above_chance: str
    """yes, no or unknown, as the next ones."""
    beats_zero_shot: str
    beats_linear: str
    beats_mil: str


def prepare(
    job: Job,
    manifest: Path | None,
    kind: RunKind = RunKind.TRAINING,
    needs_test: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Training:
    """Check everything that can be wrong before work starts, and find the run; raises UsageError.

    `more` is what decides the result beside manifest, backbone and settings.
    """
    config, backbone = _with_texts(job)
    source, novel = load_source(job, manifest), tuple[str, ...]()
    if config.training.classes_seen == "base":
        config, source, novel = _base_only(config, source)
    if config.data.features:
        imported_store(job, source.table, config.data.features)
    plan = plan_training(source.table, config)
    warn_of_unknown(plan.unknown_classes)
    if needs_test:
        source.test_part("compare on")
    elif not (source.table["split"] == "test").any():
        log.warning("the manifest has no test videos: the model will be registered without figures")
    build_model(plan.classes, backbone, torch.zeros(feature_dim(job, backbone)), config)  # refuses what is wrong
    content = {
        "manifest": source.digest,
        "backbone": backbone and backbone.identity,
        **result_settings(plan.config),
        # the model's thresholds depend on them; defaults are left out, so that runs from before there were events count
        **{f"events.{name}": value for name, value in config.events.changed().items()},
        **more,
    }
    run = find_run(job.storage, kind, job.name, source.dataset, content, job.fresh)
    new = NewNames(novel, backbone) if novel and backbone else None
    return Training(source, plan, backbone, run, new)


def run(job: Job, training: Training) -> TrainingResult:
    """Extract, train, evaluate and register, resuming an earlier attempt."""
    if (result := finished(job, training.run, TrainingResult)) is not None:
        return result
    with tracked(job, training.run) as tracking, TemporaryDirectory(dir=scratch()) as folder:
        describe(tracking, job, training)
        extracted = obtain(job, training)
        training = replan(tracking, job, training, extracted)
        with stage("train", f"{len(training.plan.classes)} classes, from video-level labels alone"):
            trained = train(tracking, job, training, extracted)
            bundle = build_bundle(training, extracted, trained, Path(folder))
            tracking.log_tags(alarm_tags(load_alarms(bundle)))
            model_id = log_model(tracking, bundle)
        with stage("evaluate", "the trained model on the test videos"):
            measured = evaluation.evaluate(
                tracking, training.run, training.source, extracted, bundle, model_id, training.novel
            )
        with stage("baselines", f"{', '.join(each.title for each in BASELINES.values())} on the same videos"):
            found = _baselines(tracking, job, training, extracted, bundle, measured)
        with stage("register", f"as a version of {job.config.tracking.model_name}"):
            standing = found.sentence if found else None
            version = register_model(tracking, model_id, job.config.tracking.model_name, standing)
        tracking.log_note(run_note(tracking.read(), training.run.uri(), standing))
        baselines.log_standing(found)
        scored = evaluation.scored(tracking, job, training.run, measured, extracted)
        scored |= found.tags() if found else unknown_standing()
        result = TrainingResult(**scored, model_version=version, standing=standing)
        return evaluation.finish(training.run, result)


def describe(tracking: TrackedRun, job: Job, training: Training) -> None:
    """Log the run's inputs: tags and the manifest."""
    config = training.plan.config
    source = training.source
    tracking.log_tags(
        {
            **source.tags(),
            "training_videos": training.plan.manifest.filter(pl.col("split") != "test").height,
            "test_videos": training.plan.manifest.filter(pl.col("split") == "test").height,
            "classes": ", ".join(training.plan.classes),
            "protocol": job.config.training.protocol,
            "model_kind": config.model.method,
            "backbone": training.backbone.name if training.backbone else "none",
            "backbone_identity": training.backbone_identity or "none",
            "imported_features": job.config.data.features or "none",
        }
    )
    tracking.log_dataset(source.path, source.dataset, source.digest, "training")


def obtain(job: Job, training: Training) -> Extracted:
    """Return the features of all videos of the manifest."""
    settings, imported = job.config.extraction, job.config.data.features
    return obtain_features(job, settings, training.source.table, training.backbone, imported)


def replan(tracking: TrackedRun, job: Job, training: Training, extracted: Extracted) -> Training:
    """Plan again with what the features tell: videos that could not be decoded, and lengths; log the configuration.

    Raises UsageError if too little is left, or the features are not those of an earlier attempt.
    """
    needs = extracted.needs(training.source.path, training.backbone_identity)
    training.run.keep_features(extracted.digest(), needs)
    plan = plan_training(extracted.manifest, training.plan.config)
    bags, lengths = plan.bags("train"), _lengths(extracted)
    config, choices = adapt(plan.config, bags, [lengths[bag.video_id] for bag in bags])
    for line in choices:
        log.info("chosen for these videos: %s", line)
    tracking.log_tags({"chosen": "; ".join(choices) or "nothing"})
    job.storage.write(training.run.part(CONFIG), to_yaml(config).encode())
    tracking.log_config(config)
    return replace(training, plan=replace(plan, config=config))


def _lengths(extracted: Extracted) -> dict[str, Length]:
    """Return the length of each video of the manifest, by its id."""
    index = extracted.store.index().select("video", "frames")
    found = extracted.manifest.join(index, left_on="source", right_on="video")
    rows = found.select("video_id", "frames", pl.col("num_frames") / pl.col("fps")).iter_rows()
    return {video_id: Length(frames, seconds) for video_id, frames, seconds in rows}


def fit_plan(job: Job, training: Training, extracted: Extracted) -> FitPlan:
    """Return the fit on the training part, for workers that do not have the job."""
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


@dataclass(frozen=True)
class Trained:
    """Checkpoints of a finished training."""

    model: Checkpoint
    held_out: Checkpoint | None
    """That of the fit which has not seen the validation part, and may be the same; None without that part."""


def train(tracking: TrackedRun, job: Job, training: Training, extracted: Extracted) -> Trained:
    """Fit, and on request fit again on all training videos; returns the checkpoints to use."""
    tracking.log_tags({"feature_fingerprint": extracted.store.fingerprint})
    plan = fit_plan(job, training, extracted)
    frames = {video_id: length.stored for video_id, length in _lengths(extracted).items()}
    warnings = warnings_before(training.plan, frames, training.source.is_benchmark, job.config.model.fit_grid)
    for line in warnings:
        log.warning("%s", line)
    _fit(tracking, plan)
    history = plan.checkpoints().history()
    choice = plan.config.training.chosen_epoch
    epoch = best_epoch(history, choice)
    tracking.log_metrics(chosen(history, choice))
    if AUC in history[epoch]:
        log.info("%s epoch: %d, video-level AUC on the validation part %.4f", choice, epoch, history[epoch][AUC])
    doubts = warnings_after(history, plan.validation, choice)
    for line in doubts:
        log.warning("%s", line)
    if warnings or doubts:
        tracking.log_tags({WARNING: "; ".join([*doubts, *warnings])})
    chosen_one = plan.checkpoints().load(epoch)
    if not plan.validation:
        return Trained(chosen_one, None)
    if not job.config.training.final_fit:
        return Trained(chosen_one, chosen_one)
    plan = plan.final(epoch + 1)
    _fit(tracking, plan, "final/")
    return Trained(plan.checkpoints().load(epoch), chosen_one)


def chosen(history: Sequence[EpochMetrics], choice: EpochChoice) -> EpochMetrics:
    """Return which epoch was chosen, and its figures on the validation part."""
    epoch = best_epoch(history, choice)
    best = {f"best_{name.removeprefix('val/')}": value for name, value in history[epoch].items() if "val/" in name}
    return {"best_epoch": float(epoch), **best}


def build_bundle(training: Training, extracted: Extracted, trained: Trained, folder: Path) -> Path:
    """Write the model to a local folder, with its table of false alarms, and publish it in the run's folder."""
    bundle = folder / MODEL
    _save(training, extracted, trained.model, bundle)
    if trained.held_out is not None:
        # the final fit has seen these videos, and its scores of them would promise too few alarms
        _save(training, extracted, trained.held_out, folder / "held-out")
        normal = normal_videos(training.plan.manifest, "val")
        keep_alarms(bundle, folder / "held-out", normal, extracted.store, training.plan.config.events, held_out=True)
    training.run.publish(bundle, MODEL)
    return bundle


def _save(training: Training, extracted: Extracted, checkpoint: Checkpoint, bundle: Path) -> None:
    weights, backbone, config = checkpoint.weights, training.backbone, training.plan.config
    model = build_model(training.plan.classes, backbone, weights["normality_prototype"], config)
    videos = extracted.manifest.filter(pl.col("split") != "test")["source"].implode()
    stored = extracted.store.index().filter(pl.col("video").is_in(videos))["frames"].to_list()
    lengths = median_and_longest(stored)
    save_trained(bundle, model, weights, config, training.backbone_identity, extracted.precision, lengths)


def _baselines(
    tracking: TrackedRun, job: Job, training: Training, extracted: Extracted, bundle: Path, model: Measured | None
) -> Standing | None:
    """Make the baselines, and compare the model with them on the test videos; None without test videos."""
    by_name = makers(fit_plan(job, training, extracted), load_card(bundle), training.backbone)
    return baselines.make_and_compare(tracking, training.run, training.source, extracted, model, by_name)


def _with_texts(job: Job) -> tuple[RunConfig, Backbone | None]:
    """Return the configuration with what depends on a text tower, and the backbone; None if none is needed."""
    config, imported, backbone = job.config, job.config.data.features, None
    is_ours = config.model.method == "anomalyclip"
    if is_ours and "auto" in (config.model.directions, config.model.zero_shot):
        backbone = load_backbone(config.backbone)
        reason = _no_text(backbone, require_import(job.storage, imported).dim if imported else backbone.dim)
        chosen = {"directions": "free" if reason else "finetuned", "zero_shot": not reason}
        changes = {name: value for name, value in chosen.items() if getattr(config.model, name) == "auto"}
        if reason:
            log.info("%s: %s", ", ".join(f"model.{name}={value}" for name, value in changes.items()), reason)
        config = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    is_without_text = imported is not None and not METHODS[config.model.method].reads_text(config.model)
    return config, None if is_without_text else backbone or load_backbone(config.backbone)


def _base_only(config: RunConfig, source: Source) -> tuple[RunConfig, Source, tuple[str, ...]]:
    """Return configuration and videos of a training that sees base classes alone, and the novel classes."""
    if config.model.method != "anomalyclip" or config.model.directions == "free":
        raise UsageError("training.classes_seen=base: novel classes are recognised by their names, which need prompts: "
                         "leave model.method and model.directions as they are")  # fmt: skip
    table, novel = base_and_novel(source.table, config.data.base_classes, config.data.novel_classes)
    config = config.model_copy(update={"data": config.data.model_copy(update={"classes": config.data.base_classes})})
    log.info("base classes: %s; novel: %s", ", ".join(config.data.base_classes or ()), ", ".join(novel))
    return config, replace(source, table=table), tuple(novel)


def _no_text(backbone: Backbone, dim: int) -> str | None:
    """Return why directions cannot come from prompts for features of `dim` numbers; None if they can."""
    if backbone.dim != dim:
        return f"the features have {dim} numbers, the texts of {backbone.name} {backbone.dim}"
    try:
        text_tower(backbone.model)
    except UsageError as error:
        return str(error)
    return None


def feature_dim(job: Job, backbone: Backbone | None) -> int:
    """Return the numbers in a feature that the job trains on."""
    if backbone is not None and job.config.data.features is None:
        return backbone.dim
    return require_import(job.storage, job.config.data.features or "").dim


def _show(shown: Bar, row: EpochMetrics) -> None:
    shown.update(int(row["epoch"]) + 1, f"loss {row['loss']:.4f}")


def _fit(tracking: TrackedRun, plan: FitPlan, prefix: str = "") -> None:
    epochs = plan.epochs
    training = plan.config.training
    steps = steps_per_epoch(plan.train, training)
    log.info(
        "training on %d videos, %d held out: %d epochs of %d steps (%d in all), batches of %d videos, workers: %d",
        len(plan.train), len(plan.validation), epochs, steps, epochs * steps, training.batch_size, training.workers,
    )  # fmt: skip
    history = plan.checkpoints().history
    with bar(epochs, "epochs") as shown, tracking.following(history, prefix, partial(_show, shown)):
        fit_on_ray(plan)
