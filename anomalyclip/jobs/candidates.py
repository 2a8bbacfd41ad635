"""Candidates of an evaluation: a trained model in any place, or zero-shot CLIP, with the features that it needs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.labels import class_names
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import Scorer
from anomalyclip.evaluation.zero_shot import SEGMENT, zero_shot
from anomalyclip.events.alarms import load_alarms
from anomalyclip.features.backbone import Backbone, load_backbone, load_stored_backbone
from anomalyclip.features.imported import require_import
from anomalyclip.job import Job
from anomalyclip.jobs.alarms import alarm_tags
from anomalyclip.model.bundle import ModelCard, bundle_digest, load_card
from anomalyclip.model.engineered import ENGINEERED_PROMPT
from anomalyclip.settings import digest
from anomalyclip.tracking.resolve import ZERO_SHOT, resolve

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate."""

    scorer: Path | Scorer
    """The folder of a trained model, or a scorer without one."""
    classes: tuple[str, ...]
    backbone: Backbone | None
    """None if imported features are scored without it."""
    extraction: ExtractionConfig
    """Settings that make the features it was trained on."""
    imported: str | None
    """Name of the imported features to score, None for extracted ones."""
    content: dict[str, Any]
    """Everything that decides its scores, by name."""
    tags: dict[str, str]
    """Tags of the MLflow run."""
    parameters: dict[str, Any]
    """Settings that it is known to have, by `section.key`."""
    model_id: str | None = None
    """Of the logged model in MLflow, if there is one."""

    @property
    def backbone_identity(self) -> str | None:
        """Hash of the image tower that it needs, if any."""
        return self.backbone.identity if self.backbone else None


def zero_shot_for(job: Job, manifest: pl.DataFrame) -> Candidate:
    """Return zero-shot CLIP of the configured backbone for a manifest's classes; raises UsageError."""
    classes = class_names(manifest, job.config.data.classes)
    return zero_shot_candidate(job, load_backbone(job.config.backbone), classes)


def zero_shot_scorer(backbone: Backbone, classes: Sequence[str], sampling_rate: int | None) -> Scorer:
    """Return zero-shot CLIP as a scorer; raises UsageError if the text tower cannot read the prompts."""
    model = zero_shot(backbone, classes)
    segment_frames = SEGMENT * (sampling_rate or 1)
    return Scorer(model.score, model.classes, backbone.dim, sampling_rate, segment_frames, model.digest)


def zero_shot_of(job: Job, card: ModelCard) -> Candidate | None:
    """Return zero-shot CLIP with a trained model's backbone, classes and features; None if it has no text tower."""
    if card.backbone_identity is None:
        return None
    data = job.config.data.model_copy(update={"features": card.features})
    config = job.config.model_copy(update={"data": data, "extraction": extraction_settings(job, card)})
    backbone = load_stored_backbone(job.storage, card.backbone_identity)
    try:
        return zero_shot_candidate(replace(job, config=config), backbone, card.classes)
    except UsageError as error:  # a text tower that reads no prompts, which free directions do not need
        log.warning("no zero-shot CLIP to compare with: %s", error)
        return None


def zero_shot_candidate(job: Job, backbone: Backbone, classes: Sequence[str]) -> Candidate:
    """Return zero-shot CLIP of a backbone; raises UsageError if features and texts differ in size."""
    extraction, imported = job.config.extraction, job.config.data.features
    if imported and (dim := require_import(job.storage, imported).dim) != backbone.dim:
        raise UsageError(f"features {imported} have {dim} numbers, the texts of {backbone.name} {backbone.dim}")
    scorer = zero_shot_scorer(backbone, classes, extraction.sampling_rate)
    return Candidate(
        scorer=scorer,
        classes=scorer.classes,
        backbone=backbone,
        extraction=extraction,
        imported=imported,
        content={
            "model": scorer.digest,
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


def extraction_settings(job: Job, card: ModelCard) -> ExtractionConfig:
    """Return the settings that make the features a model was trained on; another precision must be asked for."""
    asked = job.config.extraction
    precision = card.precision if asked.precision == "auto" else asked.precision
    own = {"sampling_rate": card.sampling_rate, "crops": card.crops, "precision": precision}
    return asked.model_copy(update=own)


def trained_candidate(job: Job, model: str) -> Candidate:
    """Return a trained model by a name that `resolve` takes; raises UsageError if there is none, or it does not fit."""
    bundle, model_id = resolve(model, job.storage, job.tracking_uri).bundle()
    card, alarms = load_card(bundle), load_alarms(bundle)
    imported = _imported(job, card)
    return Candidate(
        scorer=bundle,
        classes=card.classes,
        backbone=None if imported else model_backbone(job, card),
        extraction=extraction_settings(job, card),
        imported=imported,
        content={"model": bundle_digest(bundle), "features": imported, "alarms": alarms and digest(alarms)},
        tags={
            "model": model,
            "model_kind": card.model.method,
            "backbone": card.backbone.name if card.backbone_identity else "none",
            "backbone_identity": card.backbone_identity or "none",
            **alarm_tags(alarms),
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
    # snippets cannot be extracted: a video's frames do not say how others cut it
    only_imported = card.backbone_identity is None or card.sampling_rate is None
    return asked or (card.features if only_imported else None)


def model_backbone(job: Job, card: ModelCard) -> Backbone:
    """Return the model's own backbone, or the one asked for if it is the same; raises UsageError for another."""
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
