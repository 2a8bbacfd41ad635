"""The connection to an MLflow server or database, and what its errors mean."""

import logging
import os
import re
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException
from requests import RequestException

from anomalyclip.errors import UsageError
from anomalyclip.tracking.database import ensure_database

SERVER_ERRORS = (MlflowException, RequestException)
"""What MLflow raises by itself, metadata and artifacts; OSErrors may be of anything else."""
UNREACHABLE = (MlflowException, OSError, ValueError)
"""Errors of a tracking server that does not answer for a while."""
AGAIN = "the same command goes on from here"
RETRIES = 6
"""Questions asked again of a server that is away: for two minutes, as a restart may take."""
ANSWER_SECONDS = 8.0
"""Time in which a tracking server must answer before a job starts."""
REASONS = {
    r"Failed to resolve|Name or service not known": "no such host",
    r"SSLError": "its certificate cannot be verified (MLFLOW_TRACKING_SERVER_CERT_PATH names a file of trusted ones)",
    r"too many (\d+) error responses": r"it answers with HTTP \1",
    r"Max retries exceeded": "nothing answers there",
    r"error code (401|403) != 200": r"it refuses the login (HTTP \1): set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    r"error code (\d+) != 200": r"it answers with HTTP \1; is this the address of an MLflow server, with its path?",
    r"(model alias \S+ not found)": r"\1: promote.py sets champion, search.py candidate; or name a version",
    r"not in a valid JSON format": "what answers is no MLflow server",
}
"""Patterns of what MLflow raises, and what they mean for a user."""


def connect(tracking_uri: str) -> mlflow.MlflowClient:
    """Point this process at a tracking server or database and its registry; raises UsageError without one."""
    if not tracking_uri:
        raise UsageError("a storage root in an object store needs --tracking-uri or MLFLOW_TRACKING_URI")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a result is all that goes there
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs what it raises, with a traceback
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    with mlflow_errors(tracking_uri):
        ensure_database(tracking_uri)
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        return mlflow.MlflowClient()


def reach(tracking_uri: str) -> mlflow.MlflowClient:
    """Connect, and ask one question; raises UsageError if there is no usable answer.

    A server has `ANSWER_SECONDS` to answer, whatever takes the time: its name, the connection or the answer.
    """
    client = connect(tracking_uri)
    with mlflow_errors(tracking_uri):
        if tracking_uri.startswith(("http://", "https://")):
            _ask_once(client)
        else:  # the first question makes a database's tables, which must not be broken off
            client.search_experiments(max_results=1)
    return client


@contextmanager
def mlflow_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a UsageError that names its address."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise UsageError(f"MLflow at {tracking_uri}: {reason(error)}") from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"MLflow at {tracking_uri} needs {error.name}, which is not installed: 'anomalyclip[s3]' has it for S3, "
            "'anomalyclip[gcs]' for Google Cloud Storage"
        ) from error


@contextmanager
def asking_once() -> Iterator[None]:
    """Make MLflow's client ask a server once, not several times."""
    retries = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
    try:
        yield
    finally:
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(retries)


def reason(error: Exception) -> str:
    """Return in one line what went wrong, and what to do about it where that is known."""
    text = " ".join(str(error).split())
    for pattern, meaning in REASONS.items():
        if found := re.search(pattern, text):
            return found.expand(meaning)
    return textwrap.shorten(text, 300, placeholder=" …")


def _ask_once(client: mlflow.MlflowClient) -> None:
    """Ask a server one question, without MLflow's retries and not for longer than `ANSWER_SECONDS`.

    It is a question that jobs ask too, through MLflow's own client, so that login, certificates and path are checked.
    The thread that asks is abandoned if it takes too long: looking up a name has no time limit of its own.
    """
    failed: list[Exception] = []

    def ask() -> None:
        try:
            client.search_experiments(max_results=1)
        except Exception as error:  # for the caller, in whose thread it belongs
            failed.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    with asking_once():
        thread.start()
        thread.join(ANSWER_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:.0f} s")
    if failed:
        raise failed[0]
