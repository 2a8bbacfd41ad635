"""A registered model for MLflow's scoring server, which loads what it is given: a copy that was verified."""

from pathlib import Path

from anomalyclip.tracking.resolve import check_servable
from anomalyclip.tracking.server import mlflow_errors, reach
from anomalyclip.tracking.verification import verified_copy


def copy_to_serve(model: str, tracking_uri: str, folder: Path) -> tuple[str, Path]:
    """Copy a registered model into a local folder; returns the version's own address and the copy's folder.

    `model` is `models:/NAME/VERSION` or `models:/NAME@ALIAS`. Raises UsageError if there is none, or it is refused.
    """
    name, number, alias = check_servable(model)
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        # an alias is read once: it may move between the verification and the start
        number = number or client.get_model_version_by_alias(name, alias).version
        version = f"models:/{name}/{number}"
        return version, verified_copy(version, folder)
