"""The stages of an evaluation, of a trained model or of zero-shot CLIP; training ends with them too."""

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from anomalyclip.cli import Job
from anomalyclip.config import ExtractionConfig
from anomalyclip.data.labels import class_names, unknown_test_classes
from anomalyclip.data.manifest import load_manifest, manifest_digest
from anomalyclip.device import resolve_device
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.metrics import Metrics
from anomalyclip.evaluation.report import PREDICTIONS, log_summary, write_report
from anomalyclip.evaluation.scoring import Scorer, bundle_scorer, score_manifest
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.backbone import Backbone, load_backbone, load_stored_backbone
from anomalyclip.features.imported import find_import
from anomalyclip.jobs.common import Extracted, imported_store, warn_of_unknown
from anomalyclip.jobs.training import MODEL_KIND, Training
from anomalyclip.model.bundle import ModelCard, bundle_digest, load_card
from anomalyclip.model.engineered import ENGINEERED_PROMPT
from anomalyclip.runs import RunFolder, open_run
from anomalyclip.storage import scratch
from anomalyclip.tracking.registry import find_bundle
from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")


ZERO_SHOT = "zero-shot"
"""Stands in the place of a model: CLIP as it comes, with engineered prompts."""


@dataclass(frozen=True)
class Candidate:
    """What is to be evaluated."""

    scorer: Path | Scorer
    """The folder of a trained model, or what scores without one."""
    classes: tuple[str, ...]
    backbone: Backbone | None
    """None where imported features are scored without it."""
    extraction: ExtractionConfig
    """Settings under which its own features come out."""
    imported: str | None
    """Name of the imported features to score, None where features are extracted."""
    content: dict[str, Any]
    """What decides its scores, by name."""
    tags: dict[str, str]
    """What the MLflow run says of it."""
    parameters: dict[str, Any]
    """Settings that it is known to have, by `section.key`."""
    model_id: str | None = None
    """Of the model in MLflow, where it is logged there."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation job that was found to be in order."""

    manifest_path: Path
    manifest_digest: str
    manifest: pl.DataFrame
    """The test part."""
    candidate: Candidate
    run: RunFolder


def prepare(job: Job, model: str, manifest_path: Path) -> Evaluation:
    """Find the model, check the manifest, and open the evaluation's folder; raises UsageError.

    `model` is what `find_bundle` takes, or `zero-shot`.
    """
    whole = load_manifest(manifest_path, job.config.data.frame_tolerance)
    manifest = whole.filter(pl.col("split") == "test")
    if manifest.is_empty():
        raise UsageError(f"manifest {manifest_path} has no rows of split test to evaluate on")
    candidate = _zero_shot(job, whole) if model == ZERO_SHOT else _trained(job, model)
    if candidate.imported:
        imported_store(job, manifest, candidate.imported)
    warn_of_unknown(unknown_test_classes(manifest, candidate.classes))
    digest = manifest_digest(whole)
    content = {
        **candidate.content,
        "manifest": digest,
        "precision": job.config.extraction.precision,
        "frame_tolerance": job.config.data.frame_tolerance,
    }
    dataset = manifest_path.resolve().parent.name
    prefix = f"{dataset}-{ZERO_SHOT}" if model == ZERO_SHOT else dataset
    run = open_run(job.storage, "evaluations", job.name, prefix, content, job.fresh)
    return Evaluation(manifest_path, digest, manifest, candidate, run)


def describe(tracking: TrackedRun, prepared: Evaluation) -> None:
    """Say what is evaluated on what, under the names that trainings have, parameters of the training included."""
    candidate = prepared.candidate
    tracking.log_tags(
        {
            **candidate.tags,
            "dataset": prepared.manifest_path.resolve().parent.name,
            "manifest_digest": prepared.manifest_digest,
            "imported_features": candidate.imported or "none",
        }
    )
    if candidate.model_id is None or not tracking.log_origin(candidate.model_id):
        tracking.log_tags({"protocol": "none"})
        tracking.log_parameters(candidate.parameters)


def extraction_settings(job: Job, card: ModelCard) -> ExtractionConfig:
    """Return the settings under which a model's own features come out; another precision must be asked for."""
    asked = job.config.extraction
    precision = card.precision if asked.precision == "auto" else asked.precision
    own = {"sampling_rate": card.sampling_rate, "crops": card.crops, "precision": precision}
    return asked.model_copy(update=own)


def evaluate(
    tracking: TrackedRun,
    job: Job,
    prepared: Training | Evaluation,
    extracted: Extracted,
    scorer: Path | Scorer,
    model_id: str | None,
) -> Metrics | None:
    """Score the test part; log figures, plots and predictions, and publish them in the run's folder.

    `scorer` may be the folder of a trained model. Returns None where no test video could be scored.
    """
    run, source = prepared.run, str(prepared.manifest_path.resolve())
    test = extracted.manifest.filter(pl.col("split") == "test")
    if test.is_empty():
        log.warning("there are no test videos with features: no figures")
        return None
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        scorer = bundle_scorer(scorer, resolve_device()) if isinstance(scorer, Path) else scorer
        score_manifest(scorer, test, prepared.manifest_digest, extracted.store, folder / PREDICTIONS)
        log.info("scored %d videos, %d frames", test.height, test["num_frames"].sum())
        metrics = write_report(folder)
        dataset = tracking.log_dataset(test, source, run.name, "evaluation")
        tracking.log_metrics(metrics.flat(), model_id, dataset)
        tracking.log_artifacts(folder, "evaluation")
        job.storage.publish_folder(folder, f"{run.key}/evaluation")
    log_summary(metrics)
    return metrics


def finish(
    tracking: TrackedRun, job: Job, run: RunFolder, metrics: Metrics | None, extracted: Extracted,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Keep and return the job's result: identities, headline figures, and where everything is."""
    figures = {name: getattr(metrics, name, None) for name in ("auc", "m_auc", "ap")}
    paths = {name: job.storage.uri(f"{run.key}/{name}") for name in ("model", "evaluation") if
             job.storage.exists(f"{run.key}/{name}")}  # fmt: skip
    result = {
        "run": run.name,
        "run_id": tracking.run_id,
        **more,
        **figures,
        "quarantined": len(extracted.quarantined),
        "paths": {"run": job.storage.uri(run.key), **paths},
        "tracking_uri": job.tracking_uri,
    }
    run.finish(result)
    if extracted.quarantined:
        log.warning("%d videos could not be decoded and were left out", len(extracted.quarantined))
    log.info("results: %s", job.storage.uri(run.key))
    if metrics is not None:
        log.info("plots: %s", job.storage.uri(f"{run.key}/evaluation/plots"))
    if job.tracking_uri.startswith("sqlite:"):
        log.info("compare runs: mlflow ui --backend-store-uri %s", job.tracking_uri)
    return result


def _trained(job: Job, model: str) -> Candidate:
    bundle, model_id = find_bundle(model, job.tracking_uri)
    card = load_card(bundle)
    imported = _imported(job, card)
    return Candidate(
        scorer=bundle,
        classes=card.classes,
        backbone=None if imported else _backbone(job, card),
        extraction=extraction_settings(job, card),
        imported=imported,
        content={"model": bundle_digest(bundle), "features": imported},
        tags={
            "model": model,
            "model_kind": MODEL_KIND,
            "backbone": card.backbone.name if card.backbone_identity else "none",
            "backbone_identity": card.backbone_identity or "none",
        },
        parameters={f"model.{key}": value for key, value in card.model.model_dump(mode="json").items()},
        model_id=model_id,
    )


def _imported(job: Job, card: ModelCard) -> str | None:
    """Return the name of the imported features to score, None for extracted ones; raises UsageError for others."""
    asked = job.config.data.features
    if asked is not None and asked != card.features:
        understood = f"features imported as {card.features}" if card.features else "extracted features only"
        raise UsageError(f"the model understands {understood}, not those imported as {asked}")
    return asked or (card.features if card.backbone_identity is None else None)


def _zero_shot(job: Job, manifest: pl.DataFrame) -> Candidate:
    backbone, extraction = load_backbone(job.config.backbone), job.config.extraction
    imported = job.config.data.features
    if imported and (dim := find_import(job.storage, imported).dim) != backbone.dim:
        raise UsageError(f"features {imported} have {dim} numbers, the texts of {backbone.name} {backbone.dim}")
    model = zero_shot(backbone, class_names(manifest, job.config.data.classes))
    return Candidate(
        scorer=Scorer(model.score, model.classes, extraction.sampling_rate, model.digest),
        classes=model.classes,
        backbone=backbone,
        extraction=extraction,
        imported=imported,
        content={
            "model": model.digest,
            "sampling_rate": extraction.sampling_rate,
            "crops": extraction.crops,
            "features": imported,
        },
        tags={
            "model": ZERO_SHOT,
            "model_kind": ZERO_SHOT,
            "prompt": ENGINEERED_PROMPT,
            "backbone": backbone.name,
            "backbone_identity": backbone.identity,
        },
        parameters={},
    )


def _backbone(job: Job, card: ModelCard) -> Backbone:
    """Return the model's own backbone, or the one asked for if it is the same."""
    assert card.backbone_identity is not None
    asked = job.config.backbone
    if asked == card.backbone or asked == type(asked)():
        try:
            return load_stored_backbone(job.storage, card.backbone_identity)
        except UsageError:
            asked = card.backbone
    backbone = load_backbone(asked)
    if backbone.identity != card.backbone_identity:
        raise UsageError(
            f"backbone {backbone.name} ({asked.weights}, {backbone.identity[:12]}) makes other features than the "
            f"model was trained on ({card.backbone.name}, {card.backbone_identity[:12]}): give the model's own"
        )
    return backbone
