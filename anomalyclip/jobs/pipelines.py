"""Whole jobs, from a manifest to a result that is kept: what the commands and the demo run."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.cli import Job, log
from anomalyclip.jobs import evaluation, training
from anomalyclip.jobs.common import obtain_features, stage, tracked
from anomalyclip.storage import scratch
from anomalyclip.tracking.registry import log_model, register_model


def train_and_register(job: Job, manifest_path: Path | None) -> dict[str, Any]:
    """Extract, train, evaluate and register, going on where an earlier attempt stopped; returns the result.

    A finished run's result is returned at once.
    """
    return train_prepared(job, training.prepare(job, manifest_path))


def train_prepared(job: Job, prepared: training.Training) -> dict[str, Any]:
    """Do what `train_and_register` does, for a job that was found to be in order."""
    run = prepared.run
    if (result := run.result()) is not None:
        log.info("run %s is finished; --fresh starts it anew", run.name)
        return result
    with tracked(job, run) as tracking, TemporaryDirectory(dir=scratch()) as folder:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.settle(job, prepared, extracted)
        with stage("train", f"{len(prepared.plan.classes)} classes, from video-level labels alone"):
            checkpoint = training.train(tracking, job, prepared, extracted)
            bundle = training.build_bundle(job, prepared, extracted, checkpoint, Path(folder))
            model_id = log_model(tracking, bundle)
        with stage("evaluate", "the trained model on the test videos"):
            metrics = evaluation.evaluate(tracking, job, prepared, extracted, bundle, model_id)
        with stage("register", f"as a version of {job.config.tracking.model_name}"):
            version = register_model(tracking, model_id, job.config.tracking.model_name, metrics)
        return evaluation.finish(tracking, job, run, metrics, extracted, model_version=version)


def evaluate_on_manifest(job: Job, model: str, manifest_path: Path) -> dict[str, Any]:
    """Evaluate a trained model, or `zero-shot` CLIP, on the test part of a manifest; returns the result.

    A finished evaluation's result is returned at once.
    """
    prepared = evaluation.prepare(job, model, manifest_path)
    run, candidate = prepared.run, prepared.candidate
    if (result := run.result()) is not None:
        log.info("evaluation %s is finished; --fresh starts it anew", run.name)
        return result
    with tracked(job, run) as tracking:
        evaluation.describe(tracking, prepared)
        extracted = obtain_features(
            job, candidate.extraction, prepared.manifest, candidate.backbone, candidate.imported
        )
        identity = candidate.backbone.identity if candidate.backbone else None
        run.keep_needs(extracted.needs(prepared.manifest_path, identity))
        with stage("evaluate", f"{model} on the test videos"):
            metrics = evaluation.evaluate(tracking, job, prepared, extracted, candidate.scorer, candidate.model_id)
        return evaluation.finish(tracking, job, run, metrics, extracted, model=model)
