"""Runs in the storage root: their kinds, the files of their folders, and the results of finished ones."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.redaction import redact, redacted
from anomalyclip.run_lock import exclusive, is_lock, remove_dead
from anomalyclip.settings import digest
from anomalyclip.storage import Storage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyResult = TypeVar("AnyResult", bound="DataclassInstance")
"""Result of a run: a dataclass of JSON-like values."""


class RunKind(StrEnum):
    """Folders of the storage root with one folder per run."""

    TRAINING = "runs"
    EVALUATION = "evaluations"
    ABLATION = "ablations"
    SEARCH = "searches"
    TRIAL = "trials"
    COMPARISON = "comparisons"
    SCORING = "scores"
    IMPORT = "imports"
    PRETRAINING = "pretraining"


CONTENT, MLFLOW, FEATURES, RESULT = "run.json", "mlflow.json", "features.json", "result.json"
"""Files of a run: what decides its result, its MLflow run, the stored features it needs, and its result."""
CONFIG = "config.yaml"
FIGURES = "figures"
"""Field of a result with its figures by name."""
TENSORS, CARD, ALARMS = "model.safetensors", "model.json", "alarms.json"
"""Files of a model: weights, what they mean, and its false alarms by threshold."""
PREDICTIONS = "predictions.parquet"
"""The table of an evaluation."""
MODEL, EVALUATION, TABLES, REPORT = "model", "evaluation", "tables", "report"
"""Folders that a run publishes, each whole or not at all; a training also one per baseline."""
CHECKPOINTS, FINAL, TRIALS = "checkpoints", "final", "trials"
"""Folders of a run's fit, of its second fit on all training videos, and of the runs that belong to it."""
TRIALS_TABLE = "trials.json"
"""File of a search or an ablation: point, MLflow run and outcome of every trial, by the name of its folder."""

_RESULT_SETTINGS = {
    "data": {"classes", "frame_tolerance", "features"},
    "extraction": {"sampling_rate", "crops", "precision"},
}
_RESOURCES = {"workers", "min_workers", "cpus_per_worker", "max_failures"}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Result of every command with a run; stored as `result.json`."""

    run: str
    run_id: str
    """Of the MLflow run."""
    paths: Mapping[str, str]
    """URIs of the outputs, by name."""
    tracking_uri: str


@dataclass(frozen=True)
class RunFolder:
    """A run's place, `<kind>/<name>` in the storage root."""

    storage: Storage
    kind: str
    name: str
    content: Mapping[str, Any]
    """Everything that decides the result, as JSON-like values by name."""

    @property
    def key(self) -> str:
        """Key of the folder."""
        return f"{self.kind}/{self.name}"

    def part(self, name: str) -> str:
        """Return the key of a file or folder of the run."""
        return f"{self.key}/{name}"

    def uri(self, name: str = "") -> str:
        """Return the URI of the run, or of a part of it, for users."""
        return self.storage.uri(self.part(name) if name else self.key)

    def publish(self, folder: Path, name: str) -> None:
        """Copy a local folder into the run as one of its parts."""
        self.storage.publish_folder(folder, self.part(name))

    def published(self, *names: str) -> dict[str, str]:
        """Return the URIs of the run and of those parts that exist, by name."""
        return {"run": self.uri(), **{name: self.uri(name) for name in names if self.storage.exists(self.part(name))}}

    def start(self, fresh: bool = False) -> None:
        """Create the folder; a `fresh` start first removes what an earlier attempt left, but no lock."""
        if fresh:
            self._clear()
        if self._read(CONTENT) is None:
            self.storage.write_json(self.part(CONTENT), self.content)

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a context in which no other process works on the run; raises JobError if one does already."""
        return exclusive(self.storage, self.key, self.key)

    def remove_dead_locks(self) -> None:
        """Remove the locks of killed processes of this machine: nobody takes over a run that is finished."""
        remove_dead(self.storage, self.key)

    def is_finished(self) -> bool:
        """Return whether the run has a result."""
        return self.storage.exists(self.part(RESULT))

    def result(self, as_type: type[AnyResult]) -> AnyResult | None:
        """Return the result of a finished run, None while it is unfinished; raises UsageError for another command's."""
        kept = self._read(RESULT)
        if kept is None:
            return None
        names = {field.name for field in fields(as_type)}
        if FIGURES in names:
            kept[FIGURES] = {name: value for name, value in kept.items() if name not in names}
        if not names <= kept.keys():
            raise UsageError(f"{self.uri(RESULT)} is not a result of this command; --fresh starts again")
        return as_type(**{name: kept[name] for name in names})

    def finish(self, result: "DataclassInstance") -> None:
        """Store the result; from then on the run counts as finished."""
        self.storage.write_json(self.part(RESULT), as_json(result))

    def mlflow_run(self, tracking_uri: str) -> str | None:
        """Return the id of the MLflow run that an earlier attempt started; raises UsageError if it is elsewhere."""
        kept = self._read(MLFLOW)
        if kept is None:
            return None
        # kept without its login, which may change
        if redact(kept["tracking_uri"]) != redact(tracking_uri):
            raise UsageError(
                f"run {self.name} was started at {kept['tracking_uri']}, not {tracking_uri}; "
                "give that one as --tracking-uri, or --fresh to start again"
            )
        return str(kept["run_id"])

    def keep_mlflow_run(self, tracking_uri: str, run_id: str) -> None:
        """Remember the MLflow run, so that a later attempt resumes it; a login in the address is not kept."""
        self.storage.write_json(self.part(MLFLOW), {"tracking_uri": tracking_uri, "run_id": run_id})

    def keep_features(self, digest: str, needs: Mapping[str, Any]) -> None:
        """Remember which features the run is trained on, and what it `needs` of the storage root.

        Raises UsageError if an earlier attempt had others.
        """
        kept = self._read(FEATURES)
        if kept is not None and kept["digest"] != digest:
            raise UsageError(
                f"run {self.name} was started on other features: a video, the quarantine or the precision has changed "
                "since; --fresh starts it again"
            )
        self.keep_needs({"digest": digest, **needs})

    def keep_needs(self, needs: Mapping[str, Any]) -> None:
        """Remember what the run needs of the storage root, so that housekeeping keeps it."""
        self.storage.write_json(self.part(FEATURES), needs)

    def _clear(self) -> None:
        """Remove all files but the locks: the result first, so that half a run never looks finished."""
        names = [name for name in self.storage.list(self.key) if not is_lock(name)]
        for name in sorted(names, key=lambda name: (name != RESULT, name == CONTENT)):
            self.storage.delete(self.part(name))

    def _read(self, name: str) -> Any:
        try:
            return self.storage.read_json(self.part(name))
        except FileNotFoundError:
            return None


def as_json(result: "DataclassInstance") -> dict[str, Any]:
    """Return a result as JSON-like values, without logins; its figures become fields of their own."""
    values = redacted(asdict(result))
    figures = values.pop(FIGURES, {})
    return {**values, **figures}


def find_run(
    storage: Storage, kind: str, name: str | None, prefix: str, content: Mapping[str, Any], fresh: bool = False
) -> RunFolder:
    """Return the folder of a run, new or started before; nothing is written.

    Without a name, the `prefix` and a hash of the `content` give the run its name. Raises UsageError for a name that
    could leave the folder of its kind, and, unless the run starts `fresh`, for one that belongs to other content.
    """
    if name and not re.fullmatch(r"[\w-][\w. -]*", name):
        raise UsageError(f"--name {name!r} must be letters, digits, and any of - _ . and spaces after the first")
    content = redacted(content)
    run = RunFolder(storage, kind, name or f"{prefix}-{digest(content)[:10]}", content)
    kept = None if fresh else run._read(CONTENT)
    if kept is not None and kept != content:
        differing = [key for key in sorted({*kept, *content}) if kept.get(key) != content.get(key)]
        changes = ", ".join(f"{key} was {kept.get(key)}, now {content.get(key)}" for key in differing[:3])
        raise UsageError(f"run {run.name} exists with other content ({changes}); choose another --name, or --fresh")
    return run


def open_run(
    storage: Storage, kind: str, name: str | None, prefix: str, content: Mapping[str, Any], fresh: bool = False
) -> RunFolder:
    """Return the folder of a run as `find_run` does, and create it."""
    run = find_run(storage, kind, name, prefix, content, fresh)
    run.start(fresh)
    return run


def result_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that can change a result, by `section.key`: not resources, places or names."""
    sections = config.model_dump(mode="json", include={"data", "extraction", "model", "loss", "training"})
    if config.model.method == "anomalyclip":
        del sections["model"]["method"]  # it names the run of a competitor alone
    if config.training.validate_every == 1:
        del sections["training"]["validate_every"]  # runs from before there was a choice
    data = _RESULT_SETTINGS["data"]
    if config.training.classes_seen == "all":
        del sections["training"]["classes_seen"]  # as above
    else:
        data = data | {"base_classes", "novel_classes"}
    return {
        f"{section}.{key}": value
        for section, part in sections.items()
        for key, value in part.items()
        if key in {**_RESULT_SETTINGS, "data": data}.get(section, part.keys() - _RESOURCES)
    }
