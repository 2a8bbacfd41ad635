"""The SQLite database of MLflow: made whole or not at all, and refused by name if it is not whole."""

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
from filelock import FileLock

from anomalyclip.errors import UsageError

PREFIX = "sqlite:///"


def ensure_database(tracking_uri: str) -> None:
    """Make the database of a SQLite address if it does not exist; other addresses have servers that do so.

    MLflow makes its tables one after the other, without a lock: killed in between, or started twice, it leaves a
    database that every later command fails on. Here it is made under another name, by one process at a time, and
    appears when it is whole. Raises UsageError if there is one that is not.
    """
    if not tracking_uri.startswith(PREFIX):
        return
    file = Path(tracking_uri.removeprefix(PREFIX))
    if not _is_there(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f"{file.name}.lock")):  # of the system: a killed process holds it no longer
            if not _is_there(file):
                _make(file)
    _check(file)


def _is_there(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _make(file: Path) -> None:
    unfinished = file.with_name(f"{file.name}.partial")
    for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        left.unlink(missing_ok=True)
    mlflow.MlflowClient(f"{PREFIX}{unfinished}", f"{PREFIX}{unfinished}").search_experiments(max_results=1)
    unfinished.replace(file)


def _check(file: Path) -> None:
    """Raise UsageError if a database was left by a migration that did not end."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise UsageError(f"MLflow's database {file} cannot be read: {error}") from None
    if "alembic_version" not in tables or any(name.startswith("_alembic_tmp_") for name in tables):
        raise UsageError(
            f"MLflow's database {file} is not whole: a process was killed while it made or upgraded it. Put a backup "
            f"in its place, or move it away (mv {file.name} {file.name}.broken) and start with a new one"
        )
