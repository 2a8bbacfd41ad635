"""Verification of a model from MLflow before it is loaded: this package's loader, no code, the registered files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion

from anomalyclip.errors import UsageError
from anomalyclip.model.bundle import bundle_digest

log = logging.getLogger("anomalyclip")

LOADER = "anomalyclip.tracking.pyfunc_model"
DIGEST = "model_digest"
"""Tag of a run, and of the version that it registers: the digest of the model's files."""
FLAVOR, KEYS = "python_function", {"data", "env", "loader_module", "python_version", "streamable"}
"""MLflow's description of a model, and all that ours has in it."""


def check_flavors(name: str, flavors: Mapping[str, Any]) -> str:
    """Return the folder of the data in a model, relative to the model's.

    Raises UsageError if MLflow would load it by anything but this package's loader, or run code that comes with it.
    """
    found = dict(flavors.get(FLAVOR, {}))
    if set(flavors) != {FLAVOR} or found.get("loader_module") != LOADER:
        loaders = ", ".join(sorted(flavors)) or "none"
        raise UsageError(
            f"{name} is refused: it would be loaded by {found.get('loader_module', loaders)!r}, not by {LOADER}; "
            "only versions that this package has registered are loaded"
        )
    if extra := sorted(key for key, value in found.items() if key not in KEYS and value is not None):
        raise UsageError(f"{name} is refused: its description has {', '.join(extra)}, which may bring code of its own")
    data = str(found.get("data", ""))
    if Path(data).is_absolute() or ".." in Path(data).parts:
        raise UsageError(f"{name} is refused: its data are outside of the model, in {data}")
    return data


def verified_copy(uri: str, folder: Path) -> Path:
    """Copy a model (`models:/NAME/VERSION`) into a local folder, and return the copy's once it is verified.

    Loading the copy runs no code but this package's. Raises UsageError as `check_flavors` does, or if the files are not
    those that were registered; versions from before digests were kept have none to compare.
    """
    copy = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    if any(path.is_symlink() for path in copy.rglob("*")):
        raise UsageError(f"{uri} is refused: it has links to other files")
    described = yaml.safe_load((copy / "MLmodel").read_text())
    data = copy / check_flavors(uri, described.get("flavors", {}))
    check_files(uri, data, mlflow.MlflowClient().get_model_version(*uri.removeprefix("models:/").rsplit("/", 1)))
    return copy


def check_files(name: str, data: Path, made: ModelVersion | LoggedModel) -> None:
    """Compare a local copy of a model's files with the digest that was kept when it was made.

    `made` is the version, or the logged model where it is of none. Raises UsageError if they differ; models from before
    digests were kept have none to compare, which a warning says.
    """
    own = made.tags.get(DIGEST)
    run_id = made.run_id if isinstance(made, ModelVersion) else made.source_run_id
    run = mlflow.MlflowClient().get_run(run_id).data.tags.get(DIGEST) if run_id else None
    if run is not None and own not in (None, run):
        raise UsageError(f"{name} is refused: the digests of the version and of its run differ")
    known = run or own
    if known is None:
        log.warning("%s was logged before digests were kept: whether its files are the same is not known", name)
    elif bundle_digest(data) != known:
        raise UsageError(f"{name} is refused: its files are not those that were registered (digest {known[:12]})")
