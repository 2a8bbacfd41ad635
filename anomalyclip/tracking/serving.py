"""A registered model for a scoring server: verified copies, and the newer one once the model's alias has moved."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anomalyclip.errors import UsageError
from anomalyclip.tracking.resolve import check_servable
from anomalyclip.tracking.server import mlflow_errors, reach
from anomalyclip.tracking.verification import verified_copy

log = logging.getLogger("anomalyclip")

SERVED = "ANOMALYCLIP_SERVED"
"""Environment variable of the server: the folder of the copies."""
CURRENT = "current.json"
"""File in it that names the version to serve and its copy."""


class ServedModel:
    """Copies of a registered model in a folder, whose `current.json` names the one to serve."""

    def __init__(self, model: str, tracking_uri: str, folder: Path) -> None:
        """`model` is `models:/NAME/VERSION` or `models:/NAME@ALIAS`; raises UsageError for anything else."""
        self._name, self._number, self._alias = check_servable(model)
        self._tracking_uri, self._folder = tracking_uri, folder
        self._seen: str | None = None

    def look(self) -> str | None:
        """Copy what the model's name stands for now, and return the version's address; None if it is as before.

        Raises UsageError if there is none, or it is refused; then the copy before stays the one to serve.
        """
        client = reach(self._tracking_uri)
        with mlflow_errors(self._tracking_uri):
            # an alias is read once: it may move between the verification and the start
            number = self._number or client.get_model_version_by_alias(self._name, self._alias).version
            version = f"models:/{self._name}/{number}"
            if version == self._seen:
                return None
            copy = verified_copy(version, self._folder / f"version-{number}")
        self._tell(version, copy)
        self._seen = version
        return version

    @contextmanager
    def followed(self, seconds: float) -> Iterator[None]:
        """Look every so many seconds while the context lasts; 0, or a name without an alias: never."""
        stop = threading.Event()

        def follow() -> None:
            said = ""
            while not stop.wait(seconds):
                try:
                    if version := self.look():
                        log.info("verified: %s; it is served from now on", version)
                    said = ""
                except UsageError as error:
                    if str(error) != said:  # it is tried again at each look, and named once
                        log.warning("the model is served as it was: %s", error)
                    said = str(error)

        thread = threading.Thread(target=follow, daemon=True)
        if seconds and self._alias:
            thread.start()
        try:
            yield
        finally:
            stop.set()

    def _tell(self, version: str, copy: Path) -> None:
        new = self._folder / f"{CURRENT}.partial"
        new.write_text(json.dumps({"version": version, "copy": str(copy)}))
        new.rename(self._folder / CURRENT)
