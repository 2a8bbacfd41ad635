"""Files that MLflow holds of a model or a run, as local copies."""

from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion

from anomalyclip.errors import UsageError
from anomalyclip.storage import scratch
from anomalyclip.tracking.resolve import registered
from anomalyclip.tracking.runs import logged_model
from anomalyclip.tracking.server import mlflow_errors, reach
from anomalyclip.tracking.verification import check_files, check_flavors


def bundle(name: str, tracking_uri: str) -> tuple[Path, str]:
    """Return the local folder of a model (`models:/…`, or a run's id) and its id.

    Raises UsageError if there is none, or if its description or files are not those that were logged.
    """
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        uri = name
        if not _is_model(name):
            logged = logged_model(client, name)
            if logged is None:
                raise UsageError(f"run {name} has logged no model")
            uri = f"models:/{logged}"
        info = mlflow.models.get_model_info(uri)
        data = check_flavors(name, info.flavors)
        target = scratch() / "models" / str(info.model_id)
        target.mkdir(parents=True, exist_ok=True)
        local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target))) / data
        check_files(name, local, version_of(client, name) or client.get_logged_model(info.model_id))
    return local, str(info.model_id)


def version(name: str, tracking_uri: str) -> str:
    """Return the address `models:/NAME/VERSION` that a registered name stands for now; raises UsageError if none."""
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        found = version_of(client, name)
    assert found is not None
    return f"models:/{found.name}/{found.version}"


def add(name: str, file: Path, tracking_uri: str) -> None:
    """Put a file beside the card of a model."""
    folder, model_id = bundle(name, tracking_uri)
    within = folder.relative_to(scratch() / "models" / model_id)
    with mlflow_errors(tracking_uri):
        reach(tracking_uri).log_model_artifact(model_id, str(file), within.as_posix())


def part(name: str, folder: str, tracking_uri: str) -> Path | None:
    """Return the files directly in a folder of a run, or of a model's own training run; None if it has none."""
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        run_id = mlflow.models.get_model_info(name).run_id if _is_model(name) else name
        found = [] if run_id is None else client.list_artifacts(run_id, folder)
        files = [file.path for file in found if not file.is_dir]
        target = scratch() / "predictions" / str(run_id) / folder
        target.mkdir(parents=True, exist_ok=True)
        local = [client.download_artifacts(run_id, file, str(target)) for file in files]
    return Path(local[0]).parent if local else None


def version_of(client: mlflow.MlflowClient, name: str) -> ModelVersion | None:
    """Return the version that a name is of, None for a run or a logged model."""
    if (named := registered(name)) is None:
        return None
    model, number, alias = named
    return client.get_model_version(model, number) if number else client.get_model_version_by_alias(model, alias)


def _is_model(name: str) -> bool:
    return name.startswith("models:/")
