"""The whole story on two nodes, an S3 server, and MLflow on PostgreSQL, from jobs as Ray submits them."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

from anomalyclip.storage import Storage
from tests.chaos.stages import FITTED, POLICY
from tests.clusters import Cluster, cluster
from tests.servers import S3_LOGIN, mlflow_server, object_store, postgresql, s3_root

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parent.parent.parent
SETTINGS = [part for setting in FITTED for part in ("--set", setting)]
ACROSS = ["--set", "training.workers=2", "--set", "training.cpus_per_worker=2"]
"""Two workers with all CPUs of a node each."""


@dataclass
class Team:
    """A cluster of two nodes with two CPUs each, its servers, and a clone to submit from."""

    cluster: Cluster
    root: str
    tracking_uri: str
    clone: Path

    @property
    def storage(self) -> Storage:
        return Storage(self.root)

    def submit(self, *line: str, options: Sequence[str] = ()) -> tuple[int, str, dict[str, Any] | None]:
        """Submit a command and wait for it; returns exit code, log, and the JSON of its last line."""
        told = ["job", "submit", "--working-dir", ".", "--runtime-env", "infra/runtime_env.yaml", *options]
        places = ["--storage", f"'{self.root}'", "--tracking-uri", self.tracking_uri]
        code, said = self.cluster.ray(*told, "--", "python", *line, *places, cwd=self.clone)
        results = re.findall(r"^\{.*\}$", said, re.MULTILINE)
        return code, said, json.loads(results[-1]) if results else None


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
    with pytest.MonkeyPatch.context() as patch, postgresql() as database, object_store(folder) as objects:
        for name, value in S3_LOGIN.items():
            patch.setenv(name, value)
        with mlflow_server(folder, database) as address, cluster(nodes=2, cpus=2) as started:
            yield Team(started, s3_root(objects, uuid4().hex), address, folder / "clone")


def test_extraction_training_search_and_promotion_on_two_nodes(
    team: Team, drawn_manifest: Path, tmp_path: Path
) -> None:
    manifest = str(drawn_manifest)
    code, said, result = team.submit(
        "workflows/train.py", manifest, "--name", "across", *SETTINGS, *ACROSS, options=["--submission-id", "first"]
    )
    assert code == 0 and result is not None, said
    (frames,) = re.findall(r"frames by node: (\S+) (\d+), (\S+) (\d+)$", said, re.MULTILINE)
    assert [frames[0], frames[2]] == [node.address for node in team.cluster.nodes]
    assert int(frames[1]) + int(frames[3]) == pl.read_csv(manifest)["num_frames"].sum()
    assert min(int(frames[1]), int(frames[3])) > 0
    assert (result["model_version"], team.storage.read_json("runs/across/result.json")) == ("1", result)

    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({"model.k": [1, 3]}))
    search = ["tuning/search.py", manifest, "--space", str(space), "--name", "tiny"]
    code, said, result = team.submit(*search, *SETTINGS)
    assert code == 0, said

    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"evaluation": {"manifest": manifest}, **POLICY}))
    code, said, result = team.submit("workflows/promote.py", "anomalyclip", "--policy", str(policy))
    assert code == 0, said
    client = MlflowClient(team.tracking_uri)
    assert client.get_model_version_by_alias("anomalyclip", "champion").version == "2"
