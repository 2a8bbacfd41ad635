"""What a team has, on this machine: a cluster of two nodes, an S3 server, MLflow on PostgreSQL, and a clone."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from anomalyclip.storage import Storage
from tests.clusters import Cluster, cluster
from tests.servers import S3_LOGIN, mlflow_server, object_store, postgresql, s3_root

ROOT = Path(__file__).parent.parent
SUBMIT = ("job", "submit", "--working-dir", ".", "--runtime-env", "infra/runtime_env.yaml")
ALL_START = {"RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S": "120"}
"""An extraction begins when all its workers have started: this one is short, and one node could do it meanwhile."""


@dataclass
class Team:
    """The servers and the cluster."""

    cluster: Cluster
    root: str
    """The storage root, on S3."""
    tracking_uri: str
    clone: Path

    @property
    def storage(self) -> Storage:
        """The storage root, opened."""
        return Storage(self.root)

    def line(self, *command: str, root: str = "", options: Sequence[str] = ()) -> list[str]:
        """Return the words of Ray's command line that submit a command with its places."""
        places = ["--storage", root or self.root]
        places += [] if command[0].endswith("extract.py") else ["--tracking-uri", self.tracking_uri]
        return [*SUBMIT, *options, "--", "python", *command, *places]

    def submit(self, *command: str, root: str = "", options: Sequence[str] = ()) -> tuple[int, str]:
        """Submit a command and wait for its end; returns the exit code and the log."""
        return self.cluster.ray(*self.line(*command, root=root, options=options), cwd=self.clone)

    def start(self, *command: str, root: str = "", options: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Submit a command; its log is the output of the process that is returned."""
        return self.cluster.start_ray(*self.line(*command, root=root, options=options), cwd=self.clone)


@contextmanager
def team(folder: Path, nodes: int = 2) -> Iterator[Team]:
    """Start a team's servers and its cluster, of nodes with two CPUs each."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
    with pytest.MonkeyPatch.context() as patch, postgresql() as database, object_store(folder) as objects:
        for name, value in S3_LOGIN.items():
            patch.setenv(name, value)
        with mlflow_server(folder, database) as address, cluster(nodes, cpus=2, **ALL_START) as started:
            yield Team(started, s3_root(objects, uuid4().hex), address, folder / "clone")


def result_of(said: str) -> dict[str, Any]:
    """Return the JSON of a command's last line, from a job's log."""
    return dict(json.loads(re.findall(r"^\{.*\}$", said, re.MULTILINE)[-1]))
