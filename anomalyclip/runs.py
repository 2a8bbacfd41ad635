"""The folder of a run in the storage root: what it is a run of, how far it came, what came out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anomalyclip.config import RunConfig, digest
from anomalyclip.errors import UsageError
from anomalyclip.storage import Storage

_RESULT_SETTINGS = {
    "data": {"classes", "frame_tolerance", "features"},
    "extraction": {"sampling_rate", "crops", "precision"},
}
_RESOURCES = {"workers", "cpus_per_worker", "max_failures"}


@dataclass(frozen=True)
class RunFolder:
    """A run's place, `<kind>/<name>` in the storage root."""

    storage: Storage
    name: str
    key: str

    def result(self) -> dict[str, Any] | None:
        """Return what a finished run came to, None while it is unfinished."""
        return self._read("result.json")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep the result; the run counts as finished from then on."""
        self.storage.write_json(f"{self.key}/result.json", result)

    def mlflow_run(self, tracking_uri: str) -> str | None:
        """Return the id of the MLflow run that an earlier attempt began; raises UsageError if it is elsewhere."""
        kept = self._read("mlflow.json")
        if kept is None:
            return None
        if kept["tracking_uri"] != tracking_uri:
            raise UsageError(
                f"run {self.name} was begun at {kept['tracking_uri']}, not {tracking_uri}; "
                "give that one as --tracking-uri, or --fresh to start anew"
            )
        return str(kept["run_id"])

    def keep_mlflow_run(self, tracking_uri: str, run_id: str) -> None:
        """Remember the MLflow run, so that a later attempt goes on in it."""
        self.storage.write_json(f"{self.key}/mlflow.json", {"tracking_uri": tracking_uri, "run_id": run_id})

    def keep_features(self, digest: str, needs: Mapping[str, Any]) -> None:
        """Remember which features the run is trained on, and what it `needs` of the storage root.

        Raises UsageError if an earlier attempt had others.
        """
        kept = self._read("features.json")
        if kept is not None and kept["digest"] != digest:
            raise UsageError(
                f"run {self.name} was begun on other features: a video, the quarantine or the precision has changed "
                "since; --fresh starts it anew"
            )
        self.keep_needs({"digest": digest, **needs})

    def keep_needs(self, needs: Mapping[str, Any]) -> None:
        """Remember what the run needs of the storage root, so that housekeeping leaves it there."""
        self.storage.write_json(f"{self.key}/features.json", needs)

    def _read(self, name: str) -> Any:
        try:
            return self.storage.read_json(f"{self.key}/{name}")
        except FileNotFoundError:
            return None


def open_run(
    storage: Storage,
    kind: str,
    name: str | None,
    prefix: str,
    content: Mapping[str, Any],
    fresh: bool,
    begun: bool = False,
) -> RunFolder:
    """Return the folder of a run, new or begun before.

    `content` is everything that decides the result, as JSON-like values by name; without a name given it
    gives the run its name. Raises UsageError where the name belongs to a run of other content, or could leave
    the folder of its kind, and where one that must have been `begun` before was not.
    """
    if name and not re.fullmatch(r"[\w-][\w. -]*", name):
        raise UsageError(f"--name {name!r} must be letters, digits, and any of - _ . and spaces after the first")
    name = name or f"{prefix}-{digest(content)[:10]}"
    run = RunFolder(storage, name, f"{kind}/{name}")
    if fresh:
        storage.delete(run.key)
    kept = run._read("run.json")
    if kept is not None and kept != content:
        differing = [key for key in sorted({*kept, *content}) if kept.get(key) != content.get(key)]
        changes = ", ".join(f"{key} was {kept.get(key)}, now {content.get(key)}" for key in differing[:3])
        raise UsageError(f"run {name} exists with other content ({changes}); choose another --name, or --fresh")
    if kept is None and begun:
        raise UsageError(f"there is nothing to go on with: {storage.uri(run.key)} was never begun")
    if kept is None:
        storage.write_json(f"{run.key}/run.json", content)
    return run


def result_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that can change a result, by `section.key`: not resources, places or names."""
    sections = config.model_dump(mode="json", include={"data", "extraction", "model", "loss", "training"})
    return {
        f"{section}.{key}": value
        for section, part in sections.items()
        for key, value in part.items()
        if key in _RESULT_SETTINGS.get(section, part.keys() - _RESOURCES)
    }
