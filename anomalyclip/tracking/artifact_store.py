"""What MLflow needs to be installed to reach the files of an experiment in an object store."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from anomalyclip.errors import UsageError

EXTRAS = {"s3": ("boto3", "s3"), "gs": ("google.cloud.storage", "gcs")}
"""Module that MLflow imports, and the extra of this package that installs it, by the scheme of the location.

The storage root and videos need neither: pyarrow has its own S3 and Google Cloud Storage.
"""


def check_artifact_store(location: str) -> None:
    """Raise UsageError if what MLflow needs for a location is not installed."""
    module, extra = EXTRAS.get(urlsplit(location).scheme, ("", ""))
    if module and not _is_installed(module):
        raise UsageError(
            f"MLflow keeps this experiment's files in {location}, which needs {module}: install "
            f"'anomalyclip[{extra}]', or start the server with --artifacts-destination, so that it passes files on"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
