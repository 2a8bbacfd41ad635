"""Imported features: made elsewhere, stored under an import name that the user chooses."""

import re
from dataclasses import asdict, dataclass

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.storage import Storage

PREFIX = "imported-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DESCRIPTION = "imported.json"


@dataclass(frozen=True)
class ImportedFeatures:
    """Properties that all features of one import name share."""

    name: str
    """The import name, of the model that made them; nothing proves that it did."""
    dim: int
    crops: int
    """Crops per frame."""
    sampling_rate: int | None
    """Frames of the video per stored feature; None for snippets."""
    made_by: str
    """The user's words about their origin."""
    snippets: int | None = None
    """Features of every video, spread evenly over its frames; None for features at a sampling rate."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of their feature store."""
        return f"{PREFIX}{self.name}"

    @property
    def spacing(self) -> str:
        """Which frames a feature stands for, in words."""
        return f"one per {self.sampling_rate} frame(s)" if self.snippets is None else f"{self.snippets} per video"


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be an import name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no import name: use letters, digits, dots, dashes and underscores")


def read_import(storage: Storage, name: str) -> ImportedFeatures | None:
    """Return the properties of the features of an import name; None if there are none."""
    check_name(name)
    try:
        return ImportedFeatures(**storage.read_json(f"features/{PREFIX}{name}/{_DESCRIPTION}"))
    except FileNotFoundError:
        return None


def save_import(storage: Storage, features: ImportedFeatures) -> None:
    """Store the properties of the features of an import name."""
    storage.write_json(f"features/{features.fingerprint}/{_DESCRIPTION}", asdict(features))


def require_import(storage: Storage, name: str) -> ImportedFeatures:
    """Return the properties of the features of an import name; raises UsageError if there are none."""
    if (found := read_import(storage, name)) is None:
        names = [entry.removeprefix(PREFIX) for entry in storage.list("features") if entry.startswith(PREFIX)]
        raise UsageError(
            f"no features were imported as {name} into {storage.root} "
            f"(import names there: {', '.join(names) or 'none'}): see workflows/import_features.py"
        )
    return found


def with_import_settings(config: RunConfig, storage: Storage) -> RunConfig:
    """Return a configuration with the sampling rate and the crops of the imported features that it names, if any.

    Raises UsageError if there are no such features.
    """
    if config.data.features is None:
        return config
    found = require_import(storage, config.data.features)
    properties = {"sampling_rate": found.sampling_rate, "crops": found.crops}
    return config.model_copy(update={"extraction": config.extraction.model_copy(update=properties)})
