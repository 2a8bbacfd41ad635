"""Servers that tests start and end: MLflow's own, PostgreSQL under it, and an object store that speaks S3."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

TOOLS = Path(sys.executable).parent
PATIENCE = Retry(240, backoff_factor=0.5, backoff_max=0.5, status_forcelist=[502, 503, 504])
S3_LOGIN = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "of the tests"}
BUCKET = "results"
OF_MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Without its eight processes for jobs of generative models, which take half of a server's start."""
POSTGRESQL = "postgresql"
"""The package of Debian and Ubuntu."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, health: str, log: Path, **environment: str) -> Iterator[str]:
    """Start a server in a session of its own, wait until it answers, and end all its processes."""
    told = {**os.environ, **OF_MLFLOW, "PATH": f"{TOOLS}:{os.environ['PATH']}", **environment}
    with log.open("w") as output:
        server = subprocess.Popen(command, env=told, stdout=output, stderr=output, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=PATIENCE))
            answer = session.get(address + health, timeout=60)
        assert answer.ok, log.read_text()[-2000:]
        yield address
    finally:
        processes = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait(timeout=60)


@contextmanager
def mlflow_server(folder: Path, database: str) -> Iterator[str]:
    """MLflow's tracking server and registry on a database; it keeps artifacts in a folder and serves them itself."""
    port = free_port()
    command = [str(TOOLS / "mlflow"), "server", "--backend-store-uri", database, "--workers", "2"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port, "/health", folder / "server.log") as address:
        yield address


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Moto's S3 server with one empty bucket; its address. It takes any login, and what it holds is in memory."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port, "/moto-api/", folder / "s3.log") as address:
        requests.put(f"{address}/{BUCKET}", timeout=60).raise_for_status()
        yield address


def s3_root(address: str, prefix: str) -> str:
    """A storage root in the bucket of an `object_store`, which needs no environment but a login."""
    return f"s3://{BUCKET}/{prefix}?scheme=http&region=us-east-1&endpoint_override={address.removeprefix('http://')}"


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own, installed where it is missing and this user may; its URI for SQLAlchemy."""
    programs, port = postgresql_programs(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))  # its socket's path must be short
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"

    def run(*command: str) -> None:
        done = subprocess.run(command, user=user, cwd=folder, text=True, capture_output=True, timeout=120)
        if done.returncode:
            pytest.fail(f"{Path(command[0]).name}: {done.stdout}{done.stderr}"[-1500:])

    try:
        run(f"{programs}/initdb", "--pgdata", str(data), "--username", "mlflow", "--auth", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(f"{programs}/pg_ctl", "start", "--wait", "-D", str(data), "-l", str(log), "-o", options)
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run(f"{programs}/pg_ctl", "stop", "-D", str(data), "--mode", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def postgresql_programs() -> Path:
    """The folder of PostgreSQL's programs; fails with what to do where they are missing and cannot be installed."""
    if (found := _find_postgresql()) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "--yes", "--no-install-recommends", POSTGRESQL]):
            subprocess.run(["apt-get", "--quiet", *step], env=quiet, timeout=600, check=False, capture_output=True)
        found = _find_postgresql()
    if found is None:
        pytest.fail("PostgreSQL is missing and could not be installed: install its server (Debian: postgresql)")
    return found


def _find_postgresql() -> Path | None:
    on_path = shutil.which("pg_ctl")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    places = ([Path(on_path).resolve()] if on_path else []) + installed[::-1]
    return next((place.parent for place in places if (place.parent / "initdb").exists()), None)
