"""Comparison end to end, on predictions written by hand: no model, no features, no Ray."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import ray
from matplotlib.image import imread

from anomalyclip import cli
from anomalyclip.evaluation.comparison import compare as compare_tables
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import read_predictions, write_predictions
from anomalyclip.storage import Storage
from tests.commands import compare

Result = dict[str, Any]
Compare = Callable[..., Result]
CLASSES = ("Arson", "Fighting", "Normal")
PLOTS = {"differences.png", "roc.png", "videos-A-B.png", "videos-A-C.png"}


def table(path: Path, seed: int, skill: float, videos: Sequence[int] = range(18), annotations: str = "a") -> Path:
    """Predictions of some of 18 videos, a third of each class, by a model of some skill."""
    rng = np.random.default_rng(seed)
    predictions = []
    for number in range(18):
        frames, label = 20 + number, CLASSES[number % 3]
        truth = (np.arange(frames) >= 8) & (label != "Normal")
        figures = 0.5 * rng.random((frames, 4))
        figures += skill * np.column_stack([truth & (label == name) for name in CLASSES[:2]] + [~truth, truth])
        labels = [[label] * int(flag) for flag in truth]
        figures = figures.astype(np.float32)
        own = [] if label == "Normal" else [label]
        predictions.append(VideoPrediction(f"v{number:02d}", own, labels, figures[:, 3], figures[:, :3]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, [predictions[i] for i in videos], CLASSES, Digests("m", annotations, f"model {seed}"), 16)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with two runs and an evaluation."""
    root = tmp_path_factory.mktemp("compare") / "root"
    storage = Storage(str(root))
    for kind, name, seed, skill in (
        ("runs", "good", 1, 0.35), ("runs", "better", 2, 0.45), ("evaluations", "plain", 3, 0.05)
    ):  # fmt: skip
        folder = table(root.parent / name / "predictions.parquet", seed, skill).parent
        storage.publish_folder(folder, f"{kind}/{name}/evaluation")
    return root


@pytest.fixture(scope="module")
def again(root: Path) -> Compare:
    """Run the command in this process, which must start no Ray."""

    def no_ray(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was started")

    def run(*arguments: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray, "init", no_ray)
            return compare([*arguments, "--storage", str(root)])

    return run


@pytest.fixture(scope="module")
def result(again: Compare) -> Result:
    return again("plain", "runs/good", "better")


def test_each_is_held_against_the_first(result: Result, root: Path) -> None:
    assert [(model["letter"], model["name"]) for model in result["models"]] == [
        ("A", "plain"), ("B", "runs/good"), ("C", "better")
    ]  # fmt: skip
    assert [model["digest"] for model in result["models"]] == ["model 3", "model 1", "model 2"]
    plain = read_predictions(root / "evaluations/plain/evaluation/predictions.parquet")
    for found, name in zip(result["differences"], ("good", "better"), strict=True):
        other = read_predictions(root / f"runs/{name}/evaluation/predictions.parquet")
        expected = compare_tables(other, plain).figures
        for figure in ("auc", "m_auc"):
            difference = expected[figure]
            assert difference and difference.interval
            bounds = [difference.value, difference.interval.low, difference.interval.high, difference.better]
            assert list(found[figure].values()) == bounds
        assert found["auc"]["low"] > 0 and found["ap"]["low"] > 0
        assert set(found["class_auc"]) == set(CLASSES)
        shares = [video["ranked_rightly"] for video in found["videos"]]
        assert len(shares) == 10 and all(share["model"] > share["reference"] for share in shares)


def test_the_table_says_the_figures_and_the_plots_show_something(result: Result) -> None:
    folder = Path(result["paths"]["report"])
    text = (folder / "comparison.md").read_text()
    assert text.startswith("# 3 models on 18 videos, 513 frames\n\n- A: `plain`\n- B: `runs/good`\n- C: `better`\n")
    second = result["differences"][1]
    auc, models = second["auc"], result["models"]
    single = [f"{models[i]['auc']['value']:.3f} ({models[i]['auc']['low']:.3f} to {models[i]['auc']['high']:.3f})"
              for i in (0, 2)]  # fmt: skip
    line = (
        f"| AUC | {' | '.join(single)} | {auc['difference']:+.3f} ({auc['low']:+.3f} to {auc['high']:+.3f}) | > 0.999 |"
    )
    assert line in text.split("## C against A")[1]
    video = second["videos"][0]
    shares = f"{video['ranked_rightly']['reference']:.3f} | {video['ranked_rightly']['model']:.3f}"
    label = ", ".join(video["labels"]) or "Normal"
    assert f"| {video['video_id']} | {label} | {video['frames']} | {shares} | {video['contribution']:+.4f} |" in text
    assert {path.name for path in folder.glob("*.png")} == PLOTS
    for name in PLOTS:
        assert imread(folder / name)[..., :3].std() > 0.01, f"{name} is blank"


def test_its_run_in_mlflow_holds_table_plots_and_figures_apart_from_the_trainings(result: Result) -> None:
    client = mlflow.MlflowClient(result["tracking_uri"])
    run = client.get_run(result["run_id"])
    assert (run.info.status, run.data.tags["model_C"]) == ("FINISHED", "better")
    assert client.get_experiment(run.info.experiment_id).name == "anomalyclip-comparisons"
    assert run.data.metrics["C/auc_difference"] == result["differences"][1]["auc"]["difference"]
    assert run.data.metrics["B/m_auc_better"] == result["differences"][0]["m_auc"]["better"]
    names = {Path(item.path).name for item in client.list_artifacts(result["run_id"], "comparison")}
    assert names == PLOTS | {"comparison.md"}


def test_the_same_again_answers_with_the_result_and_says_the_table(
    result: Result, again: Compare, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO", "anomalyclip"):
        patch.setattr("anomalyclip.jobs.comparison.tracked", None)  # no run may be begun
        assert again("plain", "runs/good", "better") == result
    assert "## C against A" in caplog.text


def test_the_other_way_round_is_another_comparison_of_opposite_sign(result: Result, again: Compare) -> None:
    back = again("runs/good", "plain")
    assert back["run"] != result["run"]
    there, here = result["differences"][0]["auc"], back["differences"][0]["auc"]
    assert (here["difference"], here["low"], here["high"]) == (-there["difference"], -there["high"], -there["low"])
    renamed = again("runs/good", "evaluations/plain")
    assert renamed["models"][1]["name"] == "evaluations/plain" and renamed["differences"] == back["differences"]


@pytest.fixture
def refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
            again: Compare) -> Callable[..., str]:  # fmt: skip
    """Run a command that must be refused, and keep nothing; returns its one line."""

    def run(*arguments: str) -> str:
        before = sorted((root / "comparisons").glob("*"))
        monkeypatch.setattr(sys, "argv", ["compare", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.run(lambda _: again(*arguments))
        output = capsys.readouterr()
        assert (stopped.value.code, output.out) == (2, "")
        assert sorted((root / "comparisons").glob("*")) == before
        (line,) = [line for line in output.err.splitlines() if line.startswith("error: ")]
        return line

    return run


def test_what_does_not_compare_is_refused_and_what_differs_is_said(refused: Callable[..., str], tmp_path: Path) -> None:
    fewer = str(table(tmp_path / "fewer.parquet", 4, 0.3, range(1, 18)))
    line = refused("good", fewer)
    assert (
        f"good and {fewer} cannot be compared: models compare only on the same videos: 1 only in the first: v" in line
    )
    assert line.endswith("run evaluate.py for both on one manifest")
    newer = str(table(tmp_path / "newer.parquet", 4, 0.3, annotations="b"))
    assert "plain" not in (line := refused("good", "plain", newer)) and "the digests of these are a and b" in line


def test_a_single_model_and_one_without_predictions_are_refused(refused: Callable[..., str]) -> None:
    assert "give 2 to " in refused("good")
    assert "there is no model or run nowhere: give models:/NAME/VERSION" in refused("good", "nowhere")
