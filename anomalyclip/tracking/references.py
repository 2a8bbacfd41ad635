"""MLflow's view of a storage root's runs: the deleted ones, and the versions of models that use them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from anomalyclip.errors import UsageError
from anomalyclip.redaction import redact
from anomalyclip.storage import scratch
from anomalyclip.tracking.promotion_lock import is_missing
from anomalyclip.tracking.server import mlflow_errors, reach

RUNS_A_PAGE = 1000


@dataclass(frozen=True)
class Version:
    """A version of a registered model, whatever its aliases."""

    name: str
    number: str
    run_id: str | None
    aliases: Sequence[str]

    @property
    def uri(self) -> str:
        """The address that it is loaded by."""
        return f"models:/{self.name}/{self.number}"

    def __str__(self) -> str:
        return f"{self.name}/{self.number}" + "".join(f" @{alias}" for alias in self.aliases)


@dataclass(frozen=True)
class Tracked:
    """The state of a tracking server or database."""

    uri: str
    """Without a login."""
    versions: Sequence[Version]
    """All versions of all registered models."""
    deleted: frozenset[str]
    """Ids of runs that were deleted and can still be restored."""

    def versions_of(self, run_id: str | None) -> list[Version]:
        """Return the versions that a run registered."""
        return [version for version in self.versions if run_id is not None and version.run_id == run_id]


def tracked_state(tracking_uri: str) -> Tracked:
    """Ask MLflow; raises UsageError if nothing answers or its database does not exist."""
    path = tracking_uri.removeprefix("sqlite:///")
    if path != tracking_uri and not Path(path).is_file():
        raise UsageError(f"MLflow at {tracking_uri}: there is no such database")
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        experiments = _all(lambda token: client.search_experiments(ViewType.ALL, page_token=token))
        ids = [experiment.experiment_id for experiment in experiments]
        deleted = _all(lambda token: client.search_runs(
            ids, run_view_type=ViewType.DELETED_ONLY, max_results=RUNS_A_PAGE, page_token=token))  # fmt: skip
        models = _all(lambda token: client.search_registered_models(page_token=token))
        aliases = {model.name: dict(model.aliases) for model in models}
        found = _all(lambda token: client.search_model_versions(page_token=token))
        versions = [
            Version(
                each.name, str(each.version), each.run_id or None,
                [alias for alias, number in aliases.get(each.name, {}).items() if str(number) == str(each.version)],
            )
            for each in found
        ]  # fmt: skip
    return Tracked(redact(tracking_uri), versions, frozenset(run.info.run_id for run in deleted))


def backbone_of(version: Version, tracking_uri: str) -> str | None:
    """Return the identity of the backbone that a version needs, None for none; raises UsageError if it is not known.

    The tag of its run counts, else the model's own card.
    """
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        if (tagged := _tag(client, version.run_id)) is not None:
            return None if tagged == "none" else tagged
        from anomalyclip.model.bundle import load_card  # rarely needed, and torch takes seconds to import
        from anomalyclip.runs import CARD
        from anomalyclip.tracking.verification import LOADER

        function = mlflow.models.get_model_info(version.uri).flavors.get("python_function", {})
        if function.get("loader_module") != LOADER:
            return None
        with TemporaryDirectory(dir=scratch()) as folder:
            card = mlflow.artifacts.download_artifacts(f"{version.uri}/{function['data']}/{CARD}", dst_path=folder)
            return load_card(Path(card).parent).backbone_identity


def _tag(client: mlflow.MlflowClient, run_id: str | None) -> str | None:
    if run_id is None:
        return None
    try:
        found: str | None = client.get_run(run_id).data.tags.get("backbone_identity")
    except MlflowException as error:
        if is_missing(error):
            return None
        raise
    return found


def _all(ask: Callable[[str | None], Any]) -> list[Any]:
    """Return the items of all pages."""
    page = ask(None)
    items = list(page)
    while page.token:
        page = ask(page.token)
        items += page
    return items
