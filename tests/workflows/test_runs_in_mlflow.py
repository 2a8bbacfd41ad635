"""What users compare runs by in MLflow, asked of its API: two trainings, an evaluation and the baseline."""

import json
from collections.abc import Sequence
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion

from anomalyclip.config import RunConfig
from anomalyclip.runs import result_settings
from tests.commands import evaluate, train

pytestmark = pytest.mark.cluster
EXPERIMENT = "side-by-side"
TAGS = ("dataset", "manifest_digest", "protocol", "model_kind", "backbone", "backbone_identity", "imported_features")
FIGURES = {"auc", "auc_low", "auc_high", "ap", "m_auc", "m_ap", "video_auc", "youden_threshold", "auc/Fighting"}


@pytest.fixture(scope="module")
def client(ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str]) -> mlflow.MlflowClient:
    """An experiment of runs `k-1`, `k-2`, `k-2-again` (the registered model of `k-2`, evaluated) and `zero-shot`."""
    common = [str(drawn_manifest), "--storage", str(storage_root), "--set", f"tracking.experiment={EXPERIMENT}"]
    for k in (1, 2):
        settings = [*options, "--set", "training.epochs=2", "--set", f"model.k={k}"]
        result = train([*common, *settings, "--name", f"k-{k}"])
    evaluate([f"models:/anomalyclip/{result['model_version']}", *common, "--name", "k-2-again"])
    evaluate(["zero-shot", *common, "--name", "zero-shot"])
    return mlflow.MlflowClient(result["tracking_uri"])


@pytest.fixture(scope="module")
def runs(client: mlflow.MlflowClient) -> dict[str, Run]:
    return found(client, "")


def found(client: mlflow.MlflowClient, filter_string: str, *order: str) -> dict[str, Run]:
    """The experiment's runs by name, as the UI's search box and columns find them."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    rows = client.search_runs([experiment], filter_string, ViewType.ACTIVE_ONLY, order_by=list(order))
    return {run.info.run_name: run for run in rows}


def version_of(client: mlflow.MlflowClient, run: Run) -> ModelVersion:
    """The version that a run registered."""
    (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    return version


def test_all_runs_have_ended_well(runs: dict[str, Run]) -> None:
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ["zero-shot", "k-2-again", "k-2", "k-1"], "FINISHED"
    )


def test_trained_models_have_the_same_parameters_with_the_names_of_the_settings(runs: dict[str, Run]) -> None:
    first, second, again = (runs[name].data.params for name in ("k-1", "k-2", "k-2-again"))
    tried_out = ("model.", "loss.", "training.")
    assert first.keys() == {name for name in result_settings(RunConfig()) if name.startswith(tried_out)}
    assert {name for name in first if first[name] != second.get(name)} == {"model.k"}
    assert again == second
    assert runs["zero-shot"].data.params == {}


def test_all_runs_have_the_same_figures_and_trainings_those_of_their_choice(runs: dict[str, Run]) -> None:
    metrics = {name: set(run.data.metrics) for name, run in runs.items()}
    assert FIGURES <= metrics["zero-shot"] < metrics["k-2-again"] < metrics["k-2"] == metrics["k-1"]
    beside = metrics["k-2-again"] - metrics["zero-shot"]
    assert {name.partition("auc")[0] for name in beside if name.endswith("_auc")} >= {"zero_shot_", "linear_", "mil_"}
    choice = {name for name in metrics["k-1"] if name.startswith("best_")}
    assert choice == {"best_epoch", "best_loss", "best_video_auc"}
    for name in ("auc", "zero_shot_auc", "linear_auc", "mil_auc"):
        assert runs["k-2-again"].data.metrics[name] == runs["k-2"].data.metrics[name]


def test_all_runs_say_dataset_protocol_and_backbone(runs: dict[str, Run], drawn_manifest: Path) -> None:
    tags = {name: {key: run.data.tags[key] for key in TAGS} for name, run in runs.items()}
    assert tags["k-1"] == tags["k-2"] == tags["k-2-again"]
    assert tags["k-1"]["dataset"] == drawn_manifest.parent.name
    assert (tags["k-1"]["protocol"], tags["k-1"]["backbone"]) == ("clean", "clip-tiny")
    assert tags["zero-shot"] == {**tags["k-1"], "protocol": "none", "model_kind": "zero-shot"}


def test_all_runs_have_one_dataset_of_one_name_and_digest(runs: dict[str, Run], drawn_manifest: Path) -> None:
    for name, run in runs.items():
        (used,) = run.inputs.dataset_inputs
        assert used.tags[0].value == ("training" if name in ("k-1", "k-2") else "evaluation")
        digest = run.data.tags["manifest_digest"]
        assert (used.dataset.name, used.dataset.digest) == (drawn_manifest.parent.name, digest[:12])


def test_every_run_and_the_version_state_what_they_are_and_how_good(
    client: mlflow.MlflowClient, runs: dict[str, Run], drawn_manifest: Path
) -> None:
    dataset = f"**{drawn_manifest.parent.name}**"
    openings = {
        "k-1": f"AnomalyCLIP trained on {dataset}, ",
        "k-2-again": f"`models:/anomalyclip/{version_of(client, runs['k-2']).version}` evaluated on {dataset}; ",
        "zero-shot": f"`zero-shot` evaluated on {dataset}; ",
    }
    for name, opening in openings.items():
        run = runs[name]
        note = run.data.tags["mlflow.note.content"]
        assert opening in note
        assert f"| {run.data.metrics['auc']:.3f} (" in note
        assert note.endswith(f"/{'runs' if name == 'k-1' else 'evaluations'}/{name}`.")
    version = version_of(client, runs["k-1"])
    assert openings["k-1"] in version.description
    made_from = {"dataset", "backbone", "classes", "protocol", "run_id", "model_digest"}
    works_at = {"detection_threshold", "alert_threshold", "operating_point"}
    worth = {"auc", "m_auc", "video_auc", "above_chance", "beats_zero_shot", "beats_linear", "beats_mil"}
    assert made_from | works_at | worth == version.tags.keys() - {"warning"}
    for title in ("zero-shot CLIP", "logistic regression", "MIL ranking"):
        assert f"| {title}" in version.description
        assert f"{title}, difference " in version.description


def test_no_run_has_system_metrics_unless_asked_for(runs: dict[str, Run]) -> None:
    assert not [name for run in runs.values() for name in run.data.metrics if name.startswith("system/")]


def test_a_training_and_an_evaluation_of_its_model_give_that_model_its_figures(
    client: mlflow.MlflowClient, runs: dict[str, Run]
) -> None:
    (output,) = runs["k-2"].outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert json.loads(model.tags["mlflow.modelVersions"])[0]["name"] == "anomalyclip"
    by_run = {metric.run_id for metric in model.metrics if metric.key == "auc"}
    assert by_run == {runs["k-2"].info.run_id, runs["k-2-again"].info.run_id}
    assert all(metric.dataset_digest for metric in model.metrics if metric.key in FIGURES)


def test_runs_are_found_and_ordered_by_what_a_user_types(client: mlflow.MlflowClient, runs: dict[str, Run]) -> None:
    assert set(found(client, "params.`model.k` = '2'")) == {"k-2", "k-2-again"}
    assert set(found(client, "tags.model_kind = 'zero-shot' and metrics.auc > 0")) == {"zero-shot"}
    ordered = [
        run.data.metrics["m_auc"] for run in found(client, "tags.protocol = 'clean'", "metrics.m_auc DESC").values()
    ]
    assert ordered == sorted(ordered, reverse=True) and len(ordered) == 3
