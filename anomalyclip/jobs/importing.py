"""The stages of `workflows/import_checkpoint.py`: a checkpoint of the authors to a registered model."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from anomalyclip.cli import Job
from anomalyclip.config import BackboneConfig, ExtractionConfig, to_yaml
from anomalyclip.data.labels import NORMAL, sorted_classes
from anomalyclip.errors import UsageError
from anomalyclip.features.imported import known_import
from anomalyclip.importing.label_file import read_labels
from anomalyclip.importing.released_checkpoint import (
    IMAGE_TOWER,
    TEXT_TOWER,
    Released,
    Sizes,
    convert,
    is_plain,
    sizes_of,
    state_of,
)
from anomalyclip.importing.released_faults import faults_of
from anomalyclip.importing.released_towers import clip_tokenizer, image_tower_identity, new_text_tower
from anomalyclip.importing.untrusted import read_untrusted
from anomalyclip.jobs.common import mlflow_run
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.presets import PRESETS
from anomalyclip.runs import RunFolder, open_run
from anomalyclip.storage import scratch
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun, reach

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Source:
    """The files that are imported."""

    checkpoint: Path
    centroid: Path
    labels: Path


@dataclass(frozen=True)
class Import:
    """An import that was found to be in order."""

    source: Source
    sha256: str
    """Of the checkpoint's file."""
    released: Released
    card: ModelCard
    run: RunFolder


def import_checkpoint(job: Job, source: Source) -> dict[str, Any]:
    """Convert the authors' files into a model and register it; a finished import's result is returned at once."""
    prepared = prepare(job, source)
    if (result := prepared.run.result()) is not None:
        log.info("import %s is finished; --fresh starts it anew", prepared.run.name)
        return result
    with mlflow_run(job, prepared.run) as tracking, TemporaryDirectory(dir=scratch()) as folder:
        describe(tracking, job, prepared)
        bundle, run = Path(folder) / "model", prepared.run
        save_bundle(bundle, prepared.released.state, prepared.released.class_features, prepared.card)
        job.storage.publish_folder(bundle, f"{run.key}/model")
        model_id = log_model(tracking, bundle)
        version = register_model(tracking, model_id, job.config.tracking.model_name, None)
        return finish(tracking, job, prepared, version)


def prepare(job: Job, source: Source) -> Import:
    """Read and convert everything, and open the import's folder; raises UsageError with all faults there are."""
    classes = read_labels(source.labels)
    with _named(source.checkpoint):
        state = state_of(read_untrusted(source.checkpoint))
    centroid = _centroid(source.centroid)
    sizes = sizes_of(state, len(classes), job.config.model)
    tokenizer = clip_tokenizer(sizes.positions)
    image_tower = _below(state, IMAGE_TOWER)
    faults = faults_of(state, centroid, classes, sizes, job.config.model, tokenizer)
    faults += _feature_faults(job, sizes, image_tower)
    backbone, identity = job.config.backbone, None
    if image_tower:
        try:
            name, identity = image_tower_identity(backbone.name, sizes.dim, image_tower)
            backbone = backbone.model_copy(update={"name": name})
        except UsageError as error:
            faults.append(str(error))
    if faults:
        files = f"{source.checkpoint} with {source.centroid.name} and the {len(classes)} labels of {source.labels.name}"
        raise UsageError(f"{files}: {'; '.join(faults)}")
    tower, normal = new_text_tower(_below(state, TEXT_TOWER)), classes.index(NORMAL)
    with _named(source.checkpoint):
        released = convert(state, centroid, classes, normal, sizes, job.config.model, tower, tokenizer)
    card = _card(job, classes, released, backbone, identity)
    sha256 = _sha256(source.checkpoint)
    content = {"checkpoint": sha256, "centroid": _sha256(source.centroid), "card": card.model_dump(mode="json")}
    reach(job.tracking_uri)  # before anything is written
    prefix = re.sub(r"[^\w.-]+", "-", source.checkpoint.stem)
    return Import(
        source, sha256, released, card, open_run(job.storage, "imports", job.name, prefix, content, job.fresh)
    )


def describe(tracking: TrackedRun, job: Job, prepared: Import) -> None:
    """Keep what the model is made of: settings, tags, and what stands behind its features."""
    card = prepared.card
    if card.features is not None:
        log.warning("the model takes imported features %s: nothing proves that it learnt from them", card.features)
    job.storage.write(f"{prepared.run.key}/config.yaml", to_yaml(job.config).encode())
    settings = {f"model.{key}": value for key, value in card.model.model_dump(mode="json").items()}
    tracking.log_settings(settings, to_yaml(card))
    tags = {
        "dataset": _dataset(card.classes) or prepared.source.labels.stem,
        "protocol": "imported",
        "model_kind": "anomalyclip",
        "backbone": card.backbone.name,
        "backbone_identity": card.backbone_identity,
        "features": card.features,
        "source": prepared.source.checkpoint.name,
        "source_sha256": prepared.sha256,
    }
    tracking.log_tags({key: value for key, value in tags.items() if value is not None})


def finish(tracking: TrackedRun, job: Job, prepared: Import, version: str) -> dict[str, Any]:
    """Keep and return the import's result."""
    run, card = prepared.run, prepared.card
    result = {
        "run": run.name,
        "run_id": tracking.run_id,
        "model_version": version,
        "classes": list(card.classes),
        "backbone_identity": card.backbone_identity,
        "features": card.features,
        "source": prepared.source.checkpoint.name,
        "source_sha256": prepared.sha256,
        "paths": {"run": job.storage.uri(run.key), "model": job.storage.uri(f"{run.key}/model")},
        "tracking_uri": job.tracking_uri,
    }
    run.finish(result)
    log.info("results: %s", job.storage.uri(run.key))
    return result


def _centroid(path: Path) -> Tensor:
    """Return the normality prototype `(dim,)` of a file with one tensor; raises UsageError."""
    centroid = read_untrusted(path)
    if not is_plain(centroid):
        raise UsageError(f"file {path} holds a {type(centroid).__name__}, not one tensor")
    tensor: Tensor = centroid.detach()
    return tensor.reshape(-1) if tensor.numel() == max(tensor.shape, default=0) else tensor


def _feature_faults(job: Job, sizes: Sizes, image_tower: dict[str, Tensor]) -> list[str]:
    """Return what is wrong with the features that the model is to understand."""
    name = job.config.data.features
    if name is None:
        absent = (
            f"it has no image tower (net.{IMAGE_TOWER}*): say whose features it takes with --set data.features=NAME"
        )
        return [] if image_tower else [absent]
    found = known_import(job.storage, name)
    if found is None or found.dim == sizes.dim:
        return []
    return [f"features {name} have {found.dim} numbers, the checkpoint's {sizes.dim}"]


def _card(
    job: Job, classes: list[str], released: Released, backbone: BackboneConfig, identity: str | None
) -> ModelCard:
    extraction = _extraction(job)
    return ModelCard(
        classes=tuple(classes),
        normal_index=classes.index(NORMAL),
        model=released.config,
        backbone=backbone,
        backbone_identity=identity,
        features=job.config.data.features,
        sampling_rate=extraction.sampling_rate,
        crops=extraction.crops,
        precision=extraction.precision,
    )


def _extraction(job: Job) -> ExtractionConfig:
    """Return the settings of the features, with the rate and the crops of imported ones that are there."""
    import_name, extraction = job.config.data.features, job.config.extraction
    found = known_import(job.storage, import_name) if import_name else None
    theirs = {"sampling_rate": found.sampling_rate, "crops": found.crops} if found else {}
    return extraction.model_copy(update=theirs)


def _dataset(classes: tuple[str, ...]) -> str | None:
    """Return the preset whose classes these are."""
    known = ((name, config.data.classes) for name, config in PRESETS.items() if config.data.classes)
    return next((name for name, theirs in known if sorted_classes(theirs) == sorted_classes(classes)), None)


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its content."""
    try:
        yield
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(path) in message else f"{path}: {message}") from None
