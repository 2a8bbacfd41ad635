"""Imported features: made elsewhere, known by the name that their user asserts for what made them."""

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
    """What all features of one asserted name have in common."""

    name: str
    """Of what made them, as the user asserts it: nothing proves it."""
    dim: int
    crops: int
    """Views of a frame."""
    sampling_rate: int
    """Frames that a stored feature stands for."""
    made_by: str
    """The user's words about their origin."""

    @property
    def fingerprint(self) -> str:
        """Name of their feature store."""
        return f"{PREFIX}{self.name}"


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot stand for imported features."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name imported features: use letters, digits, dots, dashes and underscores")


def known_import(storage: Storage, name: str) -> ImportedFeatures | None:
    """Return what is known of the features imported under a name; None where there are none."""
    check_name(name)
    try:
        return ImportedFeatures(**storage.read_json(f"features/{PREFIX}{name}/{_DESCRIPTION}"))
    except FileNotFoundError:
        return None


def keep_import(storage: Storage, features: ImportedFeatures) -> None:
    """Keep what all features of a name have in common."""
    storage.write_json(f"features/{features.fingerprint}/{_DESCRIPTION}", asdict(features))


def find_import(storage: Storage, name: str) -> ImportedFeatures:
    """Return what is known of the features imported under a name; raises UsageError where there are none."""
    if (found := known_import(storage, name)) is None:
        names = [entry.removeprefix(PREFIX) for entry in storage.list("features") if entry.startswith(PREFIX)]
        raise UsageError(
            f"no features were imported as {name} into {storage.root} "
            f"({'there are: ' + ', '.join(names) if names else 'nor any others'}): see workflows/import_features.py"
        )
    return found


def with_imported(config: RunConfig, storage: Storage) -> RunConfig:
    """Return a configuration with the rate and the crops of the imported features that it names, if any.

    Raises UsageError where there are no such features.
    """
    if config.data.features is None:
        return config
    found = find_import(storage, config.data.features)
    of_theirs = {"sampling_rate": found.sampling_rate, "crops": found.crops}
    return config.model_copy(update={"extraction": config.extraction.model_copy(update=of_theirs)})
