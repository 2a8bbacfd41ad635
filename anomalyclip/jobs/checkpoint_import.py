"""Import of a checkpoint that the authors released, as a registered model."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from anomalyclip.config import BackboneConfig, ExtractionConfig
from anomalyclip.data.labels import NORMAL, sorted_classes
from anomalyclip.errors import UsageError
from anomalyclip.features.imported import read_import
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
from anomalyclip.job import Job
from anomalyclip.jobs.lifecycle import finished, tracked
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.presets import PRESETS
from anomalyclip.runs import CONFIG, MODEL, RunFolder, RunKind, RunResult, find_run
from anomalyclip.settings import to_yaml
from anomalyclip.storage import scratch
from anomalyclip.tracking.pages import run_note
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Files:
    """The authors' files."""

    checkpoint: Path
    centroid: Path
    labels: Path


@dataclass(frozen=True)
class Import:
    """A checked import."""

    files: Files
    sha256: str
    """Of the checkpoint's file."""
    released: Released
    card: ModelCard
    run: RunFolder


@dataclass(frozen=True, kw_only=True)
class ImportResult(RunResult):
    """Result of an import."""

    model_version: str
    classes: tuple[str, ...]
    backbone_identity: str | None
    features: str | None
    source: str
    source_sha256: str


def prepare(job: Job, files: Files) -> Import:
    """Read and convert everything, and find the run; raises UsageError with all faults."""
    classes = read_labels(files.labels)
    with _named(files.checkpoint):
        state = state_of(read_untrusted(files.checkpoint))
    centroid = _centroid(files.centroid)
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
        named = f"{files.checkpoint} with {files.centroid.name} and the {len(classes)} labels of {files.labels.name}"
        raise UsageError(f"{named}: {'; '.join(faults)}")
    tower, normal = new_text_tower(_below(state, TEXT_TOWER)), classes.index(NORMAL)
    with _named(files.checkpoint):
        released = convert(state, centroid, classes, normal, sizes, job.config.model, tower, tokenizer)
    card = _card(job, classes, released, backbone, identity)
    sha256 = _sha256(files.checkpoint)
    content = {"checkpoint": sha256, "centroid": _sha256(files.centroid), "card": card.model_dump(mode="json")}
    prefix = re.sub(r"[^\w.-]+", "-", files.checkpoint.stem)
    run = find_run(job.storage, RunKind.IMPORT, job.name, prefix, content, job.fresh)
    return Import(files, sha256, released, card, run)


def run(job: Job, prepared: Import) -> ImportResult:
    """Convert the authors' files into a model, and register it."""
    if (result := finished(job, prepared.run, ImportResult)) is not None:
        return result
    with tracked(job, prepared.run, on_ray=False) as tracking, TemporaryDirectory(dir=scratch()) as folder:
        describe(tracking, job, prepared)
        bundle = Path(folder) / MODEL
        save_bundle(bundle, prepared.released.state, prepared.released.class_features, prepared.card)
        prepared.run.publish(bundle, MODEL)
        model_id = log_model(tracking, bundle)
        version = register_model(tracking, model_id, job.config.tracking.model_name)
    return finish(tracking, job, prepared, version)


def describe(tracking: TrackedRun, job: Job, prepared: Import) -> None:
    """Log settings and tags of the model, and a warning if nothing proves which features it was trained on."""
    card = prepared.card
    if card.features is not None:
        log.warning("the model uses imported features %s: nothing proves that it was trained on them", card.features)
    job.storage.write(prepared.run.part(CONFIG), to_yaml(job.config).encode())
    settings = {f"model.{key}": value for key, value in card.model.model_dump(mode="json").items()}
    tracking.log_settings(settings, to_yaml(card))
    tags = {
        "dataset": _dataset(card.classes) or prepared.files.labels.stem,
        "protocol": "imported",
        "model_kind": card.model.method,
        "classes": ", ".join(card.classes),
        "backbone": card.backbone.name,
        "backbone_identity": card.backbone_identity,
        "features": card.features,
        "source": prepared.files.checkpoint.name,
        "source_sha256": prepared.sha256,
    }
    tracking.log_tags({key: value for key, value in tags.items() if value is not None})


def finish(tracking: TrackedRun, job: Job, prepared: Import, version: str) -> ImportResult:
    """Store and return the import's result."""
    run, card = prepared.run, prepared.card
    result = ImportResult(
        run=run.name,
        run_id=tracking.run_id,
        paths=run.published(MODEL),
        tracking_uri=job.tracking_uri,
        model_version=version,
        classes=card.classes,
        backbone_identity=card.backbone_identity,
        features=card.features,
        source=prepared.files.checkpoint.name,
        source_sha256=prepared.sha256,
    )
    tracking.log_note(run_note(tracking.read(), run.uri()))
    run.finish(result)
    log.info("results: %s", run.uri())
    return result


def _centroid(path: Path) -> Tensor:
    """Return the normality prototype `(dim,)` of a file with one tensor; raises UsageError."""
    centroid = read_untrusted(path)
    if not is_plain(centroid):
        raise UsageError(f"file {path} holds a {type(centroid).__name__}, not one tensor")
    tensor: Tensor = centroid.detach()
    return tensor.reshape(-1) if tensor.numel() == max(tensor.shape, default=0) else tensor


def _feature_faults(job: Job, sizes: Sizes, image_tower: dict[str, Tensor]) -> list[str]:
    """Return the faults of the features that the model needs."""
    name = job.config.data.features
    if name is None:
        absent = (
            f"it has no image tower (net.{IMAGE_TOWER}*): "
            "name the imported features that it needs with --set data.features=NAME"
        )
        return [] if image_tower else [absent]
    found = read_import(job.storage, name)
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
    """Return the settings of the features, with the rate and the crops of imported ones if they exist."""
    import_name, extraction = job.config.data.features, job.config.extraction
    found = read_import(job.storage, import_name) if import_name else None
    theirs = {"sampling_rate": found.sampling_rate, "crops": found.crops} if found else {}
    return extraction.model_copy(update=theirs)


def _dataset(classes: tuple[str, ...]) -> str | None:
    """Return the name of the preset that has these classes."""
    known = ((name, config.data.classes) for name, config in PRESETS.items() if config.data.classes)
    return next((name for name, theirs in known if sorted_classes(theirs) == sorted_classes(classes)), None)


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name in front of errors about its content."""
    try:
        yield
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(path) in message else f"{path}: {message}") from None
