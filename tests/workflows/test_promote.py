"""The life of a registered model: judged, refused, promoted, rolled back and served, with no training and no Ray."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import ray
import requests
import torch
import yaml

import anomalyclip.workflows.promote
from anomalyclip import cli
from anomalyclip.config import BackboneConfig
from anomalyclip.errors import JobError
from anomalyclip.features.backbone import load_backbone, save_backbone
from anomalyclip.job import Job
from anomalyclip.jobs import judging
from anomalyclip.jobs.candidates import Candidate
from anomalyclip.jobs.evaluation import Evaluation
from anomalyclip.jobs.sources import Source
from anomalyclip.storage import Storage
from anomalyclip.tracking.promotion import ModelRegistry, new_entry
from tests.registered import draw_manifest, register, write_table
from tests.servers import free_port, mlflow_server, postgresql, serving

ROOT = Path(__file__).parent.parent.parent
NAME = "detector"
Settings = dict[str, dict[str, Any]]
POLICY: Settings = {
    "evaluation": {"manifest": "videos/manifest.csv"},
    "floors": {"auc": 0.7, "m_auc": 0.7},
    "margins": {"auc": 0.02, "m_auc": 0.02, "class_auc": 0.05},
    # zero-shot CLIP would score the videos; the versions are as old as those without fitted baselines
    "baselines": {"beats_zero_shot": None, "beats_linear": None, "beats_mil": None},
}
GATES = ["backbone", "loads", "data", "auc", "m_auc", "above_chance", "delta_auc", "delta_m_auc", "class_auc"]


@dataclass
class Place:
    """A storage root, a tracking server, and a policy: what a user has."""

    folder: Path
    tracking_uri: str
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def storage(self) -> Storage:
        return Storage(str(self.folder / "root"))

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(mlflow.MlflowClient(self.tracking_uri, self.tracking_uri), NAME)

    def train(self, quality: float, seed: int, **more: Any) -> str:
        """Register a version whose predictions are as good as that."""
        manifest = self.folder / "videos/manifest.csv"
        return register(self.tracking_uri, self.storage, self.folder, NAME, manifest, quality, seed, **more)

    def policy(self, **changed: Any) -> Path:
        """Write the policy, with sections changed."""
        settings = {name: {**POLICY.get(name, {}), **changed.get(name, {})} for name in sorted({*POLICY, *changed})}
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(settings))
        return self.folder / "policy.yaml"

    def promote(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Run the command; returns exit code, its JSON, and the line that says what was wrong."""
        line = ["promote", *arguments, "--storage", str(self.folder / "root"), "--tracking-uri", self.tracking_uri]
        if "--policy" not in arguments:
            line += ["--policy", str(self.folder / "policy.yaml")]
        self.monkeypatch.setattr(sys, "argv", line)
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.run(anomalyclip.workflows.promote.main)
        output = self.capsys.readouterr()
        said = [part for part in output.err.splitlines() if part.startswith(("error: ", "failed: "))]
        assert "Traceback" not in output.err
        assert len(said) == (1 if stopped.value.code else 0)
        return int(str(stopped.value.code)), json.loads(output.out or "{}"), "".join(said)

    def state(self) -> tuple[str | None, str | None, list[tuple[str, str]]]:
        """Champion, candidate, and what was decided on which version."""
        registry = self.registry
        decided = [(entry.decision, entry.version) for entry in registry.history()]
        return registry.aliased("champion"), registry.aliased("candidate"), decided


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@contextmanager
def place_on(
    tracking_uri: str, folder: Path, draw_video: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
        draw_manifest(folder / "videos", draw_video)
        place = Place(folder, tracking_uri, capsys, patch)
        save_backbone(load_backbone(BackboneConfig()), place.storage)
        place.policy()
        yield place
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@pytest.fixture
def place(
    _empty_database: Path, tmp_path: Path, draw_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """The same on a database of MLflow's without a server."""
    database = tmp_path / "mlflow.db"
    database.write_bytes(_empty_database.read_bytes())
    with place_on(f"sqlite:///{database}", tmp_path, draw_video, capsys) as place:
        yield place


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.accept)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server."""
    folder = tmp_path_factory.mktemp("server")
    database = postgresql() if request.param == "postgresql" else nullcontext(f"sqlite:///{folder}/server.db")
    with database as uri, mlflow_server(folder, uri) as address:
        yield address


@pytest.fixture
def served_place(
    server: str, tmp_path: Path, draw_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """The same on a real tracking server."""
    with place_on(server, tmp_path, draw_video, capsys) as place:
        yield place


def gates(place: Place, version: str) -> dict[str, str]:
    """What a version's page shows of each gate: result and figures."""
    text = place.registry.version(version).description.partition("## Gates")[2].replace("&emsp;", "")
    rows = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line.startswith("| ")]
    return {name: found for name, found in rows if name not in ("gate", "---")}


def test_the_story_of_a_registered_model(served_place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place = served_place
    caplog.set_level(logging.INFO, "anomalyclip")
    assert place.train(0.3, 1) == "1"
    code, result, _ = place.promote(NAME, "--version", "1")
    assert (code, result["decision"], result["champion_before"]) == (0, "promoted", None)
    assert place.state() == ("1", None, [("promoted", "1")])

    assert place.train(0.1, 2) == "2"
    place.registry.set_candidate("2")  # as a search does with its winner
    code, result, line = place.promote(NAME)
    assert (code, result) == (1, {})
    failed = ["auc", "m_auc", "above_chance", "delta_auc", "delta_m_auc", "class_auc"]
    assert line == f"failed: version 2 of {NAME} is not promoted; gates that failed: {', '.join(failed)}"
    assert place.state() == ("1", "2", [("promoted", "1"), ("refused", "2")])
    assert place.registry.version("2").tags["promotion.decision"] == "refused"
    found = gates(place, "2")
    assert sorted(found) == sorted(GATES)
    assert [name for name in GATES if found[name].startswith("**failed**")] == failed

    assert place.train(0.5, 3) == "3"
    code, result, _ = place.promote(NAME, "--version", "3", "--why", "the winner of Tuesday's search")
    assert (code, result["decision"], result["version"], result["champion"]) == (0, "promoted", "3", "1")
    assert place.state() == ("3", None, [("promoted", "1"), ("refused", "2"), ("promoted", "3")])
    assert {row.partition(" ")[0] for row in gates(place, "3").values()} == {"passed"}
    assert place.registry.history()[-1].why == "the winner of Tuesday's search; all 9 gates passed"
    kept = mlflow.artifacts.load_dict(result["record"])
    assert (kept["passed"], kept["champion"], [gate["name"] for gate in kept["gates"]]) == (True, "1", GATES)
    floors = {name: floor for name, floor in kept["policy"]["floors"].items() if floor is not None}
    assert floors == {"auc": 0.7, "m_auc": 0.7}

    code, result, _ = place.promote(NAME, "--rollback", "--why", "it calls cats burglars")
    assert (code, result["decision"], result["version"], result["champion"]) == (0, "rolled back", "1", "3")
    decided = [("promoted", "1"), ("refused", "2"), ("promoted", "3"), ("rolled back", "1")]
    assert place.state() == ("1", None, decided)
    assert place.registry.version("3").tags["promotion.decision"] == "rolled back"
    assert place.registry.version("1").tags["promotion.decision"] == "put back"
    code, _, line = place.promote(NAME, "--rollback")
    assert (code, line) == (2, f"error: {NAME} has no previous champion to put back")

    caplog.clear()
    code, story, _ = place.promote(NAME, "--history")
    assert (code, story["champion"], story["candidate"]) == (0, "1", None)
    assert (story["why"], story["since"]) == ("it calls cats burglars", story["history"][-1]["at"])
    assert [(entry["decision"], entry["version"]) for entry in story["history"]] == decided
    assert [entry["at"] for entry in story["history"]] == sorted(entry["at"] for entry in story["history"])
    lines = [record.message for record in caplog.records if " version " in record.message]
    assert ["refused" in lines[1], "rolled back" in lines[3]] == [True, True]
    assert any(f"champion: version 1, since {story['since']}: it calls" in line for line in lines)
    beside = place.registry.client.search_registered_models(f"name LIKE '{NAME}.%'")
    assert list(beside) == []


@pytest.mark.accept
def test_of_promotions_at_the_same_time_one_wins_on_a_server_too(server: str) -> None:
    client = mlflow.MlflowClient(server, server)
    client.create_registered_model("contested")
    run = client.create_run(client.create_experiment("contested")).info
    for _ in range(4):
        client.create_model_version("contested", f"{run.artifact_uri}/model", run.run_id)
    start, won, lost = Barrier(4), list[str](), list[str]()

    def promote(version: str) -> None:
        registry = ModelRegistry(mlflow.MlflowClient(server, server), "contested")
        start.wait()
        try:
            registry.write(new_entry("promoted", version, None, "because"))
            won.append(version)
        except JobError as error:
            lost.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, "1234"))
    registry = ModelRegistry(client, "contested")
    assert [registry.aliased("champion")] == won == [entry.version for entry in registry.history()]
    assert ["another was faster" in line for line in lost] == [True] * 3
    assert list(client.search_registered_models("name LIKE 'contested.%'")) == []


def test_every_gate_prints_its_figures(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.train(0.3, 1)
    place.promote(NAME, "--version", "1")
    place.train(0.5, 2, of_class={"Arson": 0.0})
    caplog.clear()
    caplog.set_level(logging.INFO, "anomalyclip")
    code, _, line = place.promote(NAME, "--version", "2", "--policy", str(place.policy(margins={"auc": 1, "m_auc": 1})))
    assert (code, line.endswith("gates that failed: above_chance, class_auc")) == (1, True)
    said = {gate: next(m for m in caplog.messages if m.startswith(("passed", "FAILED")) and f" {gate} " in m)
            for gate in GATES}  # fmt: skip
    assert "clip-tiny" in said["backbone"]
    assert "scored v0.mp4: 24 frames" in said["loads"]
    assert "9 of 9 test videos" in said["data"]
    assert "≥ 0.7000" in said["auc"] and "is not > 0.5" in said["above_chance"]
    assert "the lower bound > -1.0000" in said["delta_m_auc"]
    assert "worse than the champion: Arson -0." in said["class_auc"]


def test_a_dry_run_judges_and_changes_nothing(place: Place) -> None:
    place.train(0.3, 1)
    before = place.registry.client.get_registered_model(NAME)
    code, result, _ = place.promote(NAME, "--version", "1", "--dry-run")
    assert (code, result["decision"], len(result["gates"])) == (0, "would be promoted", 9)
    code, _, _ = place.promote(NAME, "--version", "1", "--dry-run", "--policy", str(place.policy(floors={"auc": 1.0})))
    assert code == 1
    after = place.registry.client.get_registered_model(NAME)
    assert (after.aliases, after.tags, after.last_updated_timestamp) == ({}, {}, before.last_updated_timestamp)
    assert set(place.registry.version("1").tags) == {"run_id", "model_digest"}
    place.policy()
    assert place.promote(NAME, "--version", "1")[0] == 0
    assert place.promote(NAME, "--rollback", "--dry-run")[0] == 2


def test_the_champion_is_not_promoted_twice(place: Place) -> None:
    place.train(0.3, 1)
    place.promote(NAME, "--version", "1")
    place.registry.set_candidate("1")  # as a process does that is killed then
    code, result, _ = place.promote(NAME, "--version", "1")
    assert (code, result["decision"]) == (0, "champion already")
    assert place.state() == ("1", None, [("promoted", "1")])


def test_a_model_whose_backbone_is_gone_is_refused(place: Place) -> None:
    place.train(0.3, 1)
    place.storage.delete(f"backbones/{load_backbone(BackboneConfig()).identity}")
    code, _, line = place.promote(NAME, "--version", "1")
    assert (code, line.endswith("gates that failed: backbone, loads")) == (1, True)
    assert "is not in" in gates(place, "1")["backbone"]


def test_a_model_that_does_not_load_is_refused(place: Place) -> None:
    place.train(0.3, 1)
    (damaged,) = Path(place.storage.path("mlflow")).rglob("model.safetensors")
    damaged.write_bytes(b"")
    code, _, line = place.promote(NAME, "--version", "1")
    assert (code, "loads" in line.split("failed: ")[-1]) == (1, True)
    assert place.state() == (None, "1", [("refused", "1")])


def test_a_model_without_predictions_on_the_manifest_is_evaluated_there(place: Place) -> None:
    """What the evaluation does is its own tests' business; that it is asked for, and for which model, is this one's."""
    place.train(0.3, 1)
    (place.folder / "videos/other.csv").write_text(
        (place.folder / "videos/manifest.csv").read_text().replace("v0,", "other,", 1)
    )
    asked: list[tuple[str, Path]] = []

    def evaluate(job: Job, source: Source, candidate: Candidate) -> None:
        asked.append((candidate.tags["model"], source.path))
        raise JobError("evaluated")

    place.monkeypatch.setattr(judging.evaluation, "prepare_candidate", evaluate)
    policy = place.policy(evaluation={"manifest": "videos/other.csv"})
    code, _, line = place.promote(NAME, "--version", "1", "--policy", str(policy))
    assert (code, line) == (1, "failed: evaluated")
    assert asked == [(f"models:/{NAME}/1", place.folder / "videos/other.csv")]
    assert place.state() == (None, None, [])


def test_a_model_of_imported_features_needs_no_backbone_and_no_video(place: Place) -> None:
    (place.folder / "videos/v0.mp4").write_bytes(b"")
    place.train(0.3, 1, backbone_identity=None, features="i3d")
    code, result, _ = place.promote(NAME, "--version", "1")
    said = {gate["name"]: gate["says"] for gate in result["gates"]}
    assert (code, said["loads"]) == (0, "loaded, and scored made-up features: 32 frames")
    assert said["backbone"] == "none needed: the model understands imported features (i3d) only"


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_a_manifest_that_a_model_was_not_scored_on_is_scored_once(
    place: Place, draw_video: Callable[..., Path]
) -> None:
    place.monkeypatch.undo()
    place.train(0.3, 1)
    videos = place.folder / "videos"
    for number in range(9):
        draw_video(videos / f"v{number}.mp4", num_frames=24 + number, seed=number)
    (videos / "other.csv").write_text((videos / "manifest.csv").read_text().replace("8-15", "9-15"))
    policy = place.policy(evaluation={"manifest": "videos/other.csv"}, floors={"auc": 0.0, "m_auc": 0.0},
                          baselines={"above_chance": False})  # fmt: skip
    code, result, _ = place.promote(NAME, "--version", "1", "--dry-run", "--policy", str(policy))
    assert (code, result["decision"]) == (0, "would be promoted")
    assert len(place.storage.list("evaluations")) == 1
    again = place.promote(NAME, "--version", "1", "--policy", str(policy))[1]
    assert [gate["figures"] for gate in again["gates"]] == [gate["figures"] for gate in result["gates"]]
    runs = place.registry.client.search_runs(
        [place.registry.client.get_experiment_by_name("anomalyclip").experiment_id]
    )
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_a_model_is_compared_with_zero_shot_clip_on_the_policys_videos(
    place: Place, draw_video: Callable[..., Path]
) -> None:
    place.train(0.3, 1)
    asked: list[Evaluation] = []

    def evaluated(job: Job, prepared: Evaluation) -> SimpleNamespace:
        """Zero-shot's predictions, as good as the model's own."""
        asked.append(prepared)
        source = place.folder / "run-1/predictions.parquet"
        job.storage.publish_folder(source.parent, "evaluations/zero-shot/evaluation")
        return SimpleNamespace(run="zero-shot")

    place.monkeypatch.setattr(judging.evaluation, "run", evaluated)
    policy = place.policy(baselines={"beats_zero_shot": 0.0})
    line = place.promote(NAME, "--version", "1", "--policy", str(policy))[2]
    assert line.endswith("gates that failed: beats_zero_shot")
    assert [each.candidate.tags["model_kind"] for each in asked] == ["zero-shot"]
    assert asked[0].candidate.classes == ("Arson", "Fighting", "Normal")


def test_a_model_must_beat_the_baselines_that_its_training_has_kept(place: Place) -> None:
    policy = str(place.policy(baselines={"beats_linear": 0.0, "beats_mil": 0.0}))
    place.train(0.5, 1, baselines={"linear": 0.1, "mil": 0.1})
    code, result, _ = place.promote(NAME, "--version", "1", "--policy", policy)
    said = {gate["name"]: gate["says"] for gate in result["gates"]}
    assert (code, result["decision"]) == (0, "promoted")
    assert said["beats_linear"].startswith("AUC minus that of logistic regression +0.")
    assert said["beats_mil"].startswith("AUC minus that of MIL ranking +0.")

    place.train(0.5, 2, baselines={"linear": 0.5, "mil": 0.1})
    code, _, line = place.promote(NAME, "--version", "2", "--dry-run", "--policy", policy)
    assert (code, "beats_linear" in line, "beats_mil" in line) == (1, True, False)


def test_a_version_from_before_the_baselines_is_told_how_to_get_them(place: Place) -> None:
    place.train(0.5, 1)
    policy = str(place.policy(baselines={"beats_linear": 0.0, "beats_mil": 0.0}))
    code, _, line = place.promote(NAME, "--version", "1", "--policy", policy)
    assert (code, line.endswith("gates that failed: beats_linear, beats_mil")) == (1, True)
    says = gates(place, "1")["beats_mil"]
    assert "not compared with MIL ranking: the model has none" in says
    assert "train again, or set baselines.beats_mil to null" in says
    assert place.promote(NAME, "--version", "1", "--policy", str(place.policy()))[0] == 0


@pytest.mark.parametrize("kind", ["linear", "mil"])
def test_kept_baselines_are_scored_on_the_policys_videos_if_the_training_saw_others(place: Place, kind: str) -> None:
    place.train(0.5, 1, baselines={kind: 0.1})
    manifest = place.folder / "videos/manifest.csv"
    (place.folder / "videos/fewer.csv").write_text(manifest.read_text().rpartition("v8,")[0])
    asked: list[Candidate] = []

    def prepare(job: Job, source: Source, candidate: Candidate) -> Candidate:
        asked.append(candidate)
        return candidate

    def evaluated(job: Job, prepared: Candidate) -> SimpleNamespace:
        run = prepared.tags["model_kind"]
        path = write_table(place.folder / run / "predictions.parquet", place.folder / "videos/fewer.csv", "x", 0.1)
        job.storage.publish_folder(path.parent, f"evaluations/{run}/evaluation")
        return SimpleNamespace(run=run)

    place.monkeypatch.setattr(judging.evaluation, "prepare_candidate", prepare)
    place.monkeypatch.setattr(judging.evaluation, "run", evaluated)
    policy = place.policy(baselines={f"beats_{kind}": 0.0}, evaluation={"manifest": "videos/fewer.csv"},
                          floors={"auc": 0.0, "m_auc": 0.0})  # fmt: skip
    place.promote(NAME, "--version", "1", "--dry-run", "--policy", str(policy))
    assert [each.tags["model_kind"] for each in asked] == ["anomalyclip", kind]
    assert asked[1].scorer.classes == asked[0].classes and asked[1].model_id is None
    assert asked[1].scorer.score(torch.randn(5, 64))[1].shape == (5, 3)


def test_models_scored_on_other_annotations_are_not_compared(place: Place) -> None:
    place.train(0.3, 1)
    place.promote(NAME, "--version", "1")
    manifest = place.folder / "videos/manifest.csv"
    first = manifest.read_text()
    manifest.write_text(first.replace('"8"', '"9"').replace("8-15", "9-15"))
    assert manifest.read_text() != first
    place.train(0.5, 2)

    def evaluated_before(job: Job, prepared: None) -> SimpleNamespace:
        """The champion's predictions, of before the annotations changed."""
        source = place.folder / "run-1/predictions.parquet"
        job.storage.publish_folder(source.parent, "evaluations/old/evaluation")
        return SimpleNamespace(run="old")

    place.monkeypatch.setattr(judging.evaluation, "prepare", lambda *_: None)
    place.monkeypatch.setattr(judging.evaluation, "run", evaluated_before)
    code, _, line = place.promote(NAME, "--version", "2")
    assert (code, line.endswith("gates that failed: data, delta_auc, delta_m_auc, class_auc")) == (1, True)
    assert "same annotations" in gates(place, "2")["data"]


def test_what_died_half_way_is_told_and_settled_by_the_next(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.train(0.3, 1)
    line = [sys.executable, "-c", DIES, str(ROOT), NAME, "--version", "1"]
    line += ["--storage", str(place.folder / "root"), "--tracking-uri", place.tracking_uri]
    line += ["--policy", str(place.folder / "policy.yaml")]
    assert subprocess.run(line, capture_output=True, timeout=120).returncode == -9
    _, story, _ = place.promote(NAME, "--history")
    assert (story["champion"], story["history"]) == ("1", [])
    assert [lock["version"] for lock in story["unsettled"]] == ["1"]
    assert "was interrupted; the next one settles it" in caplog.text
    code, result, _ = place.promote(NAME)  # the same pipeline again; the candidate is champion by now
    assert (code, result["decision"]) == (0, "champion already")
    assert place.state() == ("1", None, [("promoted", "1")])
    assert place.registry.history()[0].settled_by


DIES = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import mlflow
import anomalyclip.workflows.promote
move = mlflow.MlflowClient.set_registered_model_alias
def moves_and_dies(self, name, alias, version):
    move(self, name, alias, version)
    if alias == "champion":
        os.kill(os.getpid(), signal.SIGKILL)
mlflow.MlflowClient.set_registered_model_alias = moves_and_dies
anomalyclip.workflows.promote.main(sys.argv[1:])
"""


def test_wrong_use_is_one_clear_line_and_changes_nothing(place: Place) -> None:
    place.train(0.3, 1)
    nowhere = str(place.folder / "nowhere.yaml")
    videos = place.folder / "videos/manifest.csv"
    cases: dict[str, tuple[list[str], dict[str, Any]]] = {
        "there is no registered model nobody": (["nobody"], {}),
        f"{NAME} has no candidate: choose a version with --version N": ([NAME], {}),
        f"{NAME} has no version 7": ([NAME, "--version", "7"], {}),
        f"policy file {nowhere} does not exist": ([NAME, "--version", "1", "--policy", nowhere], {}),
        "did you mean floors.auc?": ([NAME, "--version", "1"], {"floors": {"auk": 0.5}}),
        "floors.auc: Input should be": ([NAME, "--version", "1"], {"floors": {"auc": "high"}}),
        "videos/none.csv is missing": ([NAME, "--version", "1"], {"evaluation": {"manifest": "videos/none.csv"}}),
        "smoke.video": ([NAME, "--version", "1"], {"smoke": {"video": "none.mp4"}}),
        "the class Arsen; did you mean Arson?": ([NAME, "--version", "1"], {"margins": {"classes": {"Arsen": 0.1}}}),
        f"{NAME} has no previous champion": ([NAME, "--rollback"], {}),
        "not allowed with argument": ([NAME, "--rollback", "--history"], {}),
    }
    for message, (arguments, changed) in cases.items():
        place.policy(**changed)
        code, result, line = place.promote(*arguments)
        assert (code, result, message in line) == (2, {}, True), line
    header, *rows = videos.read_text().splitlines()
    videos.write_text("\n".join([header, next(row for row in rows if "Normal" in row).replace(",test,", ",train,")]))
    place.policy()
    assert "no rows of split test" in place.promote(NAME, "--version", "1")[2]
    assert place.state() == (None, None, [])
    assert set(place.registry.version("1").tags) == {"run_id", "model_digest"}


def test_without_a_database_none_is_made(place: Place) -> None:
    place.tracking_uri = f"sqlite:///{place.folder}/none.db"
    assert place.promote(NAME)[0::2] == (2, f"error: there is no registered model {NAME}: no MLflow database at "
                                            f"{place.folder}/none.db")  # fmt: skip
    assert not (place.folder / "none.db").exists()


def test_the_champion_is_served_and_reads_below_its_root_alone(place: Place) -> None:
    place.train(0.3, 1)
    place.promote(NAME, "--version", "1")
    port = free_port()
    told = {"MLFLOW_TRACKING_URI": place.tracking_uri, "ANOMALYCLIP_VIDEO_ROOT": str(place.folder / "videos")}
    command = [sys.executable, str(ROOT / "workflows/serve.py"), f"models:/{NAME}@champion", "--port", str(port)]
    command += ["--storage", place.storage.root, "--reload", "0.5"]
    (place.folder / "outside.mp4").write_bytes((place.folder / "videos/v0.mp4").read_bytes())
    with serving(command, port, "/ping", place.folder / "serving.log", **told) as address:

        def ask(**row: Any) -> requests.Response:
            return requests.post(f"{address}/invocations", json={"dataframe_records": [row]}, timeout=60)

        for row, frames in (({"path": "v0.mp4"}, 24), ({"features": [[0.1] * 64] * 30}, 30)):
            answer = ask(**row)
            assert answer.ok, answer.text
            (scores,) = answer.json()["predictions"]
            assert scores.pop("error") is None
            assert list(scores) == ["score", "p_Arson", "p_Fighting", "p_Normal"]
            assert {len(values) for values in scores.values()} == {frames}
            assert all(0 <= value <= 1 for values in scores.values() for value in values)
        for path in ("../outside.mp4", str(place.folder / "outside.mp4")):
            (answered,) = ask(path=path).json()["predictions"]
            assert answered["error"] == f"`path` '{path}' is outside of the server's ANOMALYCLIP_VIDEO_ROOT"
            assert answered["score"] is None
        (whole_numbers,) = ask(features=[[1] * 64] * 30).json()["predictions"]
        assert whole_numbers["error"] is None

        place.train(0.9, 2)
        place.promote(NAME, "--version", "2")
        answers = (ask(features=[[1] * 64] * 30) for _ in range(1000))  # one every few milliseconds
        assert any(answer.json()["predictions"][0]["score"] != whole_numbers["score"] for answer in answers)
        metrics = requests.get(f"{address}/metrics", timeout=60).text
    assert f'anomalyclip_model_info{{version="models:/{NAME}/2"}} 1.0' in metrics
    assert f'anomalyclip_model_info{{version="models:/{NAME}/1"}} 0.0' in metrics
    assert re.findall(r'^anomalyclip_requests_total\{status="(.*)"\}', metrics, re.MULTILINE) == ["200"]


def test_a_policy_is_written_to_complete(place: Place) -> None:
    target = place.folder / "new.yaml"
    assert place.promote(NAME, "--write-policy", str(target))[:2] == (0, {"policy": str(target)})
    code, _, line = place.promote(NAME, "--version", "1", "--policy", str(target))
    assert (code, "evaluation.manifest is not set" in line) == (2, True)
