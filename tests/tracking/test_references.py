"""What housekeeping asks MLflow, and the command on a root whose runs MLflow knows."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlflow
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.storage import Storage
from anomalyclip.tracking import references
from anomalyclip.tracking.references import backbone_of, tracked_state
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import connect
from tests.commands import storage as main

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


def registered(open_run: OpenRun, bundle: Path, name: str, **tags: str) -> tuple[str, str]:
    """Register a model by a run; returns the run's id and the version."""
    with open_run() as tracking:
        tracking.log_tags(tags)
        return tracking.run_id, register_model(tracking, log_model(tracking, bundle), name)


def test_versions_of_any_alias_and_deleted_runs_are_told_page_by_page(
    open_run: OpenRun, bundle: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "RUNS_A_PAGE", 1)
    first, second = (registered(open_run, bundle, "ours")[0] for _ in range(2))
    client = connect(tracking_uri)
    client.set_registered_model_alias("ours", "champion", "1")
    extra = client.create_run(client.create_experiment("deleted")).info
    for run_id in (first, second):
        client.delete_run(run_id)
    client.delete_experiment(extra.experiment_id)
    state = tracked_state(tracking_uri)
    assert state.deleted == {first, second, extra.run_id}
    assert sorted(map(str, state.versions)) == ["ours/1 @champion", "ours/2"]
    assert [str(version) for version in state.versions_of(second)] == ["ours/2"]
    assert state.versions_of(None) == []


def test_a_version_tells_its_backbone_by_its_run_or_else_by_its_card(
    open_run: OpenRun, bundle: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("abc", "none"):
        registered(open_run, bundle, name, backbone_identity=name)
    registered(open_run, bundle, "card")
    with open_run() as tracking:
        info = mlflow.pyfunc.log_model(name="m", python_model=lambda model_input: model_input, pip_requirements=[])
        register_model(tracking, info.model_id, "stranger")
    versions = {version.name: version for version in tracked_state(tracking_uri).versions}
    card = json.loads((bundle / "model.json").read_text())["backbone_identity"]
    found = {name: backbone_of(version, tracking_uri) for name, version in versions.items()}
    assert found == {"abc": "abc", "none": None, "card": card, "stranger": None}
    location = mlflow.models.get_model_info(versions["card"].uri).artifact_path
    shutil.rmtree(location.removeprefix("file://"))
    with pytest.raises(UsageError, match="MLflow at sqlite"):
        backbone_of(versions["card"], tracking_uri)


def test_mlflow_that_is_not_there_is_said_so_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such database"):
        tracked_state(f"sqlite:///{tmp_path}/none/mlflow.db")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match=r"MLflow at http://127\.0\.0\.1:9: nothing answers there"):
        tracked_state("http://127.0.0.1:9")


def test_the_command_lists_and_removes_what_mlflow_says_nobody_needs(
    open_run: OpenRun, bundle: Path, tracking_uri: str, storage: Storage
) -> None:
    command = ("--storage", storage.root, "--tracking-uri", tracking_uri)
    finished, _ = registered(open_run, bundle, "ours")
    storage.write_json("runs/mine/run.json", {"backbone": "b"})
    storage.write_json("runs/mine/mlflow.json", {"tracking_uri": tracking_uri, "run_id": finished})
    storage.write_json("runs/mine/result.json", {})
    for folder in ("model", "checkpoints/epoch-0001"):
        storage.publish_folder(bundle, f"runs/mine/{folder}")
    rows = {row["key"]: row for row in main(["list", *command])["entries"]}
    assert rows["runs/mine"]["used_by"] == ["models:/ours/1"]
    named: dict[str, Any] = main(["gc", "--dry-run", *command])
    assert storage.is_complete("runs/mine/checkpoints/epoch-0001")
    assert [row["key"] for row in named["removed"]] == ["runs/mine/checkpoints"]
    assert main(["gc", *command]) == {**named, "dry_run": False}
    assert (storage.exists("runs/mine/checkpoints"), storage.is_complete("runs/mine/model")) == (False, True)
    for wrong in (["list", "--dry-run"], ["gc", "--older-than", "0"], ["gc", "--manifest", "none.csv"]):
        with pytest.raises(UsageError):
            main([*wrong, *command])
