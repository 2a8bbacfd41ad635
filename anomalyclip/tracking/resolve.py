"""Models and runs by the names that users give: one resolution for a model's files and for its predictions."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalyclip.errors import UsageError
from anomalyclip.redaction import redact
from anomalyclip.runs import ALARMS, CARD, EVALUATION, MODEL, PREDICTIONS, TENSORS, RunKind
from anomalyclip.settings import digest
from anomalyclip.storage import Storage, scratch

ZERO_SHOT = "zero-shot"
"""Given instead of a model: CLIP without training, with engineered prompts."""
KINDS = (RunKind.TRAINING, RunKind.EVALUATION, RunKind.IMPORT)
"""Folders of the storage root whose runs are known by name."""

MODEL_FILES = (CARD, TENSORS, ALARMS)
"""Files of a model; the last one is optional."""

Bundle = tuple[Path, str | None]
"""The local folder of a model and, if MLflow knows it, the id of its logged model."""


@dataclass(frozen=True)
class LocalFiles:
    """A bundle, the folder of a run, or a predictions table on this machine."""

    path: Path

    def bundle(self) -> Bundle:
        """Return the model; raises UsageError if there is none."""
        found = self._first(CARD, f"{MODEL}/{CARD}")
        if found is None:
            raise UsageError(f"{self.path} holds no model: there is no {CARD} in it")
        return found.parent, None

    def predictions(self) -> Path:
        """Return the predictions table; raises UsageError if there is none."""
        if self.path.is_file():
            return self.path
        found = self._first(PREDICTIONS, f"{EVALUATION}/{PREDICTIONS}")
        if found is None:
            raise _unscored(str(self.path))
        return found

    def add(self, file: Path) -> None:
        """Put a file beside the card of the model."""
        shutil.copy(file, self.bundle()[0])

    def part(self, folder: str) -> Path | None:
        """Return another folder of the run that this is, or that this is the model of; None if there is none."""
        return next((path for path in (self.path / folder, self.path.parent / folder) if path.is_dir()), None)

    def is_there(self) -> bool:
        """Return whether there is a file, or a folder with a model or predictions."""
        anything = (CARD, f"{MODEL}/{CARD}", PREDICTIONS, f"{EVALUATION}/{PREDICTIONS}")
        return self.path.is_file() or self._first(*anything) is not None

    def _first(self, *names: str) -> Path | None:
        return next((self.path / name for name in names if (self.path / name).is_file()), None)


@dataclass(frozen=True)
class StoredRun:
    """A run of the storage root, by its name, key or address."""

    name: str
    storage: Storage
    keys: Sequence[str]
    """Runs of that name: those of several kinds may share one."""

    def bundle(self) -> Bundle:
        """Return the model; raises UsageError if the run has none."""
        key = self._part(MODEL)
        if key is None:
            raise UsageError(f"run {self.name} in {self.storage.root} has no model")
        files = [name for name in MODEL_FILES if self.storage.exists(f"{key}/{name}")]
        return self._fetch(key, "models", *files), None

    def predictions(self) -> Path:
        """Return the predictions table; raises UsageError if the run has none."""
        key = self._part(EVALUATION)
        if key is None:
            raise _unscored(self.name)
        return self._fetch(key, "predictions", PREDICTIONS) / PREDICTIONS

    def add(self, file: Path) -> None:
        """Put a file beside the card of the model."""
        self.storage.publish(file, f"{self._part(MODEL)}/{file.name}")

    def part(self, folder: str) -> Path | None:
        """Return the files directly in another folder of the run with the model; None if it has none."""
        model = self._part(MODEL)
        key = model and f"{model.removesuffix(MODEL)}{folder}"
        if not key or not self.storage.is_complete(key):
            return None
        files = [name for name in self.storage.list(key) if self.storage.stat(f"{key}/{name}")]
        return self._fetch(key, "predictions", *files)

    def is_there(self) -> bool:
        """Return whether a run of that name has a complete model or complete predictions."""
        return any(self._complete(MODEL)) or any(self._complete(EVALUATION))

    def _complete(self, part: str) -> list[str]:
        return [key for key in self.keys if self.storage.is_complete(f"{key}/{part}")]

    def _part(self, part: str) -> str | None:
        """Return the key of a part of the run, None if it has none; raises UsageError if two runs have one."""
        found = self._complete(part)
        if len(found) > 1:
            raise UsageError(f"{self.name} is the name of {' and of '.join(found)}: give one of these")
        return f"{found[0]}/{part}" if found else None

    def _fetch(self, key: str, kind: str, *names: str) -> Path:
        """Return a folder as a local one: itself if the root is local, else a copy of the named files."""
        if self.storage.is_local:
            return Path(self.storage.path(key))
        target = scratch() / kind / digest(self.storage.uri(key))
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            (target / name).write_bytes(self.storage.read(f"{key}/{name}"))
        return target


@dataclass(frozen=True)
class MlflowName:
    """A version of a registered model, a logged model, or the id of a run in MLflow."""

    name: str
    tracking_uri: str

    def bundle(self) -> Bundle:
        """Return the model; raises UsageError if MLflow has none."""
        from anomalyclip.tracking import files  # here, since MLflow takes seconds to import

        return files.bundle(self.name, self.tracking_uri)

    def add(self, file: Path) -> None:
        """Put a file beside the card of the model."""
        from anomalyclip.tracking import files  # here, since MLflow takes seconds to import

        files.add(self.name, file, self.tracking_uri)

    def predictions(self) -> Path:
        """Return what the run, or the model's own training run, predicted; raises UsageError if there is nothing."""
        folder = self.part(EVALUATION)
        if folder is None or not (folder / PREDICTIONS).is_file():
            raise _unscored(self.name)
        return folder / PREDICTIONS

    def part(self, folder: str) -> Path | None:
        """Return the files directly in a folder of the run, or the model's own training run; None if it has none."""
        from anomalyclip.tracking import files  # here, since MLflow takes seconds to import

        return files.part(self.name, folder, self.tracking_uri)


Reference = LocalFiles | StoredRun | MlflowName


def registered(name: str) -> tuple[str, str | None, str | None] | None:
    """Return name, number and alias of `models:/NAME/VERSION` or `models:/NAME@ALIAS`; None if it is neither."""
    found = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@(.+))", name)
    return found and (found[1], found[2], found[3])


def check_servable(model: str) -> tuple[str, str | None, str | None]:
    """Return name, number and alias of a registered model; raises UsageError for any other kind of name."""
    if (named := registered(model)) is None:
        raise UsageError(f"{model} cannot be served: give models:/NAME/VERSION or models:/NAME@ALIAS")
    return named


def resolve(name: str, storage: Storage, tracking_uri: str) -> Reference:
    """Return the run or model of a name, to read its model or its predictions.

    `name` is a registry URI (`models:/NAME/VERSION`, `models:/NAME@ALIAS`), the id of a run in MLflow, the name,
    key or address of a run in the storage root, or a local file or folder. Raises UsageError if it is none of these;
    MLflow is not asked before something is wanted of it.
    """
    if name.startswith("models:/"):
        return MlflowName(name, tracking_uri)
    for found in (LocalFiles(Path(name)), StoredRun(name, storage, _keys(name, storage))):
        if found.is_there():
            return found
    if re.fullmatch("[0-9a-f]{32}", name):
        return MlflowName(name, tracking_uri)
    if name == ZERO_SHOT:
        raise _unscored(name)
    raise UsageError(
        f"there is no model or run {name}: give models:/NAME/VERSION, the id of a run in MLflow, the name or folder "
        f"of a run in {storage.root}, a folder with {CARD}, or a {PREDICTIONS}"
    )


def _keys(name: str, storage: Storage) -> list[str]:
    """Return the keys that a run of this name, key or address may have."""
    root, own = (redact(uri).partition("?")[0].rstrip("/") for uri in (storage.root, name))
    own = own.removeprefix(f"{root}/").removesuffix(f"/{PREDICTIONS}")
    own = own.removesuffix(f"/{EVALUATION}").removesuffix(f"/{MODEL}")
    return [own, *(f"{kind}/{own}" for kind in KINDS)]


def _unscored(name: str) -> UsageError:
    return UsageError(
        f"{name} has no predictions of its own: make them with `python workflows/evaluate.py {name} MANIFEST`, and "
        "give the run that it reports"
    )
