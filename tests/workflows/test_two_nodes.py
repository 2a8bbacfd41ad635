"""The whole story on two nodes, an S3 server, and MLflow on PostgreSQL, from jobs as Ray submits them."""

import re
from collections.abc import Iterator
from pathlib import Path

import mlflow
import polars as pl
import pytest
import yaml
from mlflow import MlflowClient

from tests.chaos.stages import FITTED, POLICY
from tests.commands import storage
from tests.teams import Team, result_of, team

pytestmark = pytest.mark.cluster
SETTINGS = [part for setting in FITTED for part in ("--set", setting)]
ACROSS = ["--set", "training.workers=2", "--set", "training.cpus_per_worker=2"]
"""Two workers with all CPUs of a node each."""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team")) as started:
        yield started
    mlflow.set_tracking_uri(None)  # the server is gone, and later commands of this process would ask it
    mlflow.set_registry_uri(None)


def test_extraction_training_search_and_promotion_on_two_nodes(
    two_nodes: Team, drawn_manifest: Path, tmp_path: Path
) -> None:
    manifest = str(drawn_manifest)
    train = ["workflows/train.py", manifest, "--name", "across", *SETTINGS, *ACROSS]
    code, said = two_nodes.submit(*train, options=["--submission-id", "first"])
    assert code == 0, said
    frames = dict(re.findall(r"(127\.0\.1\.\d) (\d+)", said))
    assert list(frames) == [node.address for node in two_nodes.cluster.nodes]
    assert sum(map(int, frames.values())) == pl.read_csv(manifest)["num_frames"].sum()
    assert result_of(said) == two_nodes.storage.read_json("runs/across/result.json")

    space, policy = tmp_path / "space.yaml", tmp_path / "policy.yaml"
    space.write_text(yaml.safe_dump({"model.k": [1, 3]}))
    code, said = two_nodes.submit("tuning/search.py", manifest, "--space", str(space), "--name", "tiny", *SETTINGS)
    assert code == 0, said
    policy.write_text(yaml.safe_dump({"evaluation": {"manifest": manifest}, **POLICY}))
    code, said = two_nodes.submit("workflows/promote.py", "anomalyclip", "--policy", str(policy))
    assert code == 0, said
    client = MlflowClient(two_nodes.tracking_uri, two_nodes.tracking_uri)
    assert client.get_model_version_by_alias("anomalyclip", "champion").version == "2"
    storage(["gc", "--storage", two_nodes.root, "--tracking-uri", two_nodes.tracking_uri])
    assert not two_nodes.storage.list("runs/across/checkpoints")
