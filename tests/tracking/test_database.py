"""MLflow's database appears whole, however often and whenever the process that makes it is killed."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.tracking.database import ensure_database

MAKE = "import sys; from anomalyclip.tracking.server import connect; connect(sys.argv[1]).search_experiments()"


def start(file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKE, f"sqlite:///{file}"], stderr=subprocess.DEVNULL)


def is_whole(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return "alembic_version" in tables and "experiments" in tables


def test_killed_while_it_is_made_the_same_command_makes_it(tmp_path: Path) -> None:
    file, unfinished = tmp_path / "mlflow.db", tmp_path / "mlflow.db.partial"
    process = start(file)
    until = time.monotonic() + 60
    while not (unfinished.exists() and unfinished.stat().st_size) and time.monotonic() < until:
        assert process.poll() is None, "it was made before it could be killed"
    process.kill()
    process.wait()
    assert unfinished.exists() and not file.exists()
    ensure_database(f"sqlite:///{file}")
    assert is_whole(file) and not unfinished.exists()


def test_two_at_once_make_one(tmp_path: Path) -> None:
    file = tmp_path / "sub/mlflow.db"
    processes = [start(file) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert is_whole(file)


def test_an_empty_file_is_no_database_yet(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    ensure_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert is_whole(tmp_path / "mlflow.db")


@pytest.mark.parametrize("table", ["_alembic_tmp_runs", "experiments"])
def test_one_that_a_killed_migration_has_left_is_refused_with_the_way_out(tmp_path: Path, table: str) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute(f"CREATE TABLE {table} (name TEXT)")
    with pytest.raises(UsageError, match=r"mlflow\.db is not whole: .* .mv mlflow\.db mlflow\.db\.broken"):
        ensure_database(f"sqlite:///{tmp_path}/mlflow.db")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"notes of mine" * 99)
    with pytest.raises(UsageError, match="cannot be read: file is not a database"):
        ensure_database(f"sqlite:///{tmp_path}/mlflow.db")
