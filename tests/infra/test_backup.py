"""What is backed up and restored is what was there: listed the same, and served the same; the scripts are clean."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import psycopg2
import pytest

from anomalyclip.model.bundle import bundle_digest
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run
from anomalyclip.tracking.server import connect
from anomalyclip.tracking.verification import verified_copy
from tests.commands import storage as storage_command
from tests.infra.programs import INFRA, faults
from tests.registered import write_bundle
from tests.servers import postgresql, postgresql_programs

BACKUP, RESTORE = INFRA / "backup.sh", INFRA / "restore.sh"


@pytest.mark.parametrize("script", [BACKUP, RESTORE])
def test_shellcheck_has_nothing_to_object(script: Path) -> None:
    assert faults("shellcheck", script) == ""
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"$target.partial"', "$target.partial"), ("fi\n", ""), ("umask 077", "cd $target")],
)
def test_shellcheck_objects_to_a_broken_copy(right: str, wrong: str, tmp_path: Path) -> None:
    broken = tmp_path / "backup.sh"
    broken.write_text(BACKUP.read_text().replace(right, wrong, 1))
    assert faults("shellcheck", broken)


def run(script: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([script, *map(str, arguments)], text=True, capture_output=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A storage root with a registered model in SQLite, and files that are nobody's results."""
    folder = tmp_path / "root"
    with tracked_run(f"sqlite:///{folder}/mlflow/mlflow.db", Storage(str(folder)), "tests", "a") as tracking:
        register_model(tracking, log_model(tracking, write_bundle(tmp_path / "bundle", 0)), "detector")
    (folder / "features" / "abc").mkdir(parents=True)
    (folder / "features" / "abc" / "one.parquet").write_bytes(b"1")
    (folder / "features" / "abc" / "two.parquet.1234.partial").write_bytes(b"2")  # of a process that died
    yield folder
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_a_restored_root_lists_and_serves_what_was_there(root: Path, tmp_path: Path) -> None:
    before = _listed(root)
    code, said = run(BACKUP, root, tmp_path / "backup")
    assert code == 0, said
    root.rename(tmp_path / "lost")

    code, said = run(RESTORE, tmp_path / "backup")
    assert code == 0, said
    assert not list(root.rglob("*.partial"))
    (tmp_path / "lost" / "features" / "abc" / "two.parquet.1234.partial").unlink()
    assert _files(root) == _files(tmp_path / "lost")
    assert _listed(root) == before
    connect(f"sqlite:///{root}/mlflow/mlflow.db")
    copy = verified_copy("models:/detector/1", tmp_path / "served")
    assert bundle_digest(next(copy.rglob("*.safetensors")).parent) == bundle_digest(tmp_path / "bundle")


def _listed(root: Path) -> list[dict[str, Any]]:
    """What `storage.py list` tells of each entry, but for the sizes and the time of MLflow's database."""
    entries = storage_command(["list", "--storage", str(root)])["entries"]
    for entry in entries:
        for key in ("bytes", "files", *(["changed"] if entry["key"] == "mlflow" else [])):
            del entry[key]
    return list(entries)


def _files(root: Path) -> dict[str, bytes]:
    """Contents by path, without SQLite's own files, which have pages in another order."""
    files = [path for path in root.rglob("*") if path.is_file() and "mlflow.db" not in path.name]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_nothing_is_overwritten_and_a_damaged_backup_is_refused(root: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert run(BACKUP, root, backup)[0] == 0
    assert run(BACKUP, root, backup) == (2, f"error: {backup} exists: give a new folder\n")
    assert run(RESTORE, backup) == (2, f"error: {root} exists: move it away first\n")
    root.rename(tmp_path / "lost")
    with (backup / "storage.tar").open("r+b") as file:
        file.seek(700)
        file.write(b"?")
    code, said = run(RESTORE, backup)
    assert code == 2 and "is damaged: take another one" in said
    (backup / "SHA256SUMS").unlink()
    assert run(RESTORE, backup) == (2, f"error: {backup} is no backup, or not a whole one\n")
    assert not root.exists()


def test_a_root_at_work_is_not_copied(root: Path, tmp_path: Path) -> None:
    (root / "runs" / "a").mkdir(parents=True)
    (root / "runs" / "a" / "lock-1234.json").write_text("{}")
    code, said = run(BACKUP, root, tmp_path / "backup")
    assert code == 2 and f"a job works here ({root}/runs/a)" in said
    os.utime(root / "runs" / "a" / "lock-1234.json", (0, 0))  # of a job that died
    assert run(BACKUP, root, tmp_path / "backup")[0] == 0
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_a_database_of_postgresql_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql() as uri:
        plain = uri.replace("+psycopg2", "")
        monkeypatch.setenv("PATH", f"{postgresql_programs()}:{os.environ['PATH']}")
        _execute(plain, "CREATE TABLE runs (name text); INSERT INTO runs VALUES ('a'), ('b')")
        code, said = run(BACKUP, "", tmp_path / "backup", plain)
        assert code == 0, said
        _execute(plain, "DROP TABLE runs")
        assert run(RESTORE, tmp_path / "backup")[1] == (
            "error: the backup has a database of PostgreSQL: give where to\n"
        )
        code, said = run(RESTORE, tmp_path / "backup", plain)
        assert code == 0, said
        assert _execute(plain, "SELECT name FROM runs ORDER BY name") == [("a",), ("b",)]


def _execute(uri: str, statement: str) -> list[tuple[str, ...]]:
    connection = psycopg2.connect(uri)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
