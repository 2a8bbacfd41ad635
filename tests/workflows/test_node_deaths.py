"""A node dies in the middle of a job: the job ends as an unbroken one."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import load

from anomalyclip.runs import TENSORS
from anomalyclip.storage import Storage, below
from tests.chaos.stages import FITTED
from tests.teams import Team, result_of, team

pytestmark = [pytest.mark.cluster, pytest.mark.accept]
TOLERANCE = 1e-5
EPOCHS = 8
ACROSS = (*FITTED[1:], f"training.epochs={EPOCHS}", "training.workers=2", "training.cpus_per_worker=2")
SETTINGS = [part for setting in ACROSS for part in ("--set", setting)]
LONGER = ["--set", "extraction.crops=5"]
"""So that a node can die in the middle of it."""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team")) as started:
        yield started


def until(job: "Popen[str]", condition: Callable[[], bool]) -> None:
    while not condition():
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.05)


def features(storage: Storage) -> dict[str, bytes]:
    """What the only feature store of a root holds, without its tables."""
    (store,) = storage.list("features")
    names = [name for name in storage.list(f"features/{store}") if re.fullmatch(r"[0-9a-f]{32}\.parquet", name)]
    return {name: storage.read(f"features/{store}/{name}") for name in names}


def assert_same_weights(storage: Storage, found: str, expected: str) -> None:
    """Compare the models of two runs: two workers add in another order than one."""
    weights, others = (load(storage.read(f"runs/{run}/model/{TENSORS}")) for run in (expected, found))
    for name, values in weights.items():
        assert np.linalg.norm(others[name] - values) <= TOLERANCE * np.linalg.norm(values), name


def test_features_are_those_of_an_unbroken_extraction(two_nodes: Team, drawn_manifest: Path) -> None:
    extract = ["workflows/extract.py", str(drawn_manifest), *LONGER]
    unbroken, broken = (below(two_nodes.root, name) for name in ("unbroken", "broken"))
    code, said = two_nodes.submit(*extract, root=unbroken)
    assert code == 0, said
    expected = features(Storage(unbroken))

    job, storage = two_nodes.start(*extract, root=broken), Storage(broken)
    until(job, lambda: len(storage.files()) > 6)
    assert len(features(storage)) < len(expected)
    two_nodes.cluster.nodes[1].kill()
    said, _ = job.communicate(timeout=600)
    assert job.returncode == 0, said
    assert "state-dump" not in said and "(raylet)" not in said  # what Ray tells of the node is for its own logs
    assert features(storage) == expected
    two_nodes.cluster.add_node()


def test_a_model_is_that_of_an_unbroken_training(two_nodes: Team, drawn_manifest: Path) -> None:
    train = ["workflows/train.py", str(drawn_manifest), *SETTINGS, "--name"]
    code, said = two_nodes.submit(*train, "unbroken")
    assert code == 0, said

    job, storage = two_nodes.start(*train, "broken"), two_nodes.storage
    until(job, lambda: storage.exists("runs/broken/checkpoints/epoch-0001/_COMPLETE"))
    two_nodes.cluster.nodes[-1].kill()
    two_nodes.cluster.add_node()
    said, _ = job.communicate(timeout=600)
    assert job.returncode == 0, said
    assert f"node {two_nodes.cluster.nodes[-2].address} is lost, with its workers" in said

    assert_same_weights(storage, "broken", "unbroken")
    client, run_id = MlflowClient(two_nodes.tracking_uri), result_of(said)["run_id"]
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == list(range(EPOCHS))
    versions = client.search_model_versions("name='anomalyclip'")
    assert [version.run_id for version in versions].count(run_id) == 1


def test_a_training_that_may_shrink_goes_on_with_the_worker_that_is_left(two_nodes: Team, drawn_manifest: Path) -> None:
    train = ["workflows/train.py", str(drawn_manifest), *SETTINGS, "--name"]
    code, said = two_nodes.submit(*train, "unbroken")
    assert code == 0, said
    job = two_nodes.start(*train, "shrunk", "--set", "training.min_workers=1")
    until(job, lambda: two_nodes.storage.exists("runs/shrunk/checkpoints/epoch-0001/_COMPLETE"))
    two_nodes.cluster.nodes[-1].kill()
    said, _ = job.communicate(timeout=600)
    assert job.returncode == 0, said
    assert "training waits for room" not in said
    assert_same_weights(two_nodes.storage, "shrunk", "unbroken")
