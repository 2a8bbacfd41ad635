from pathlib import Path

import numpy as np
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError
from anomalyclip.evaluation import comparison as paired
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import read_predictions, write_predictions
from anomalyclip.evaluation.standing import unknown_standing
from anomalyclip.job import Job
from anomalyclip.jobs.demo import Comparison, compare
from anomalyclip.jobs.scoring import ScoringResult
from anomalyclip.jobs.training import TrainingResult
from anomalyclip.storage import Storage

CLASSES = ("Arson", "Normal")
FRAMES = 20
EVENTS = ScoringResult(
    run="street", model="m", paths={"report": "/r/report.html"}, videos=8, failed=0, hours=1.0, events=3, alerts=1,
    detection_threshold=0.7, alert_threshold=0.8,
)  # fmt: skip


def table(path: Path, seed: int, skill: float, anomalous: int = 4) -> Path:
    """Predictions of eight videos, the first ones anomalous in their second half, by a model of some skill."""
    generator = np.random.default_rng(seed)
    videos = []
    for number in range(8):
        truth = (np.arange(FRAMES) >= FRAMES // 2) & (number < anomalous)
        scores = (0.5 * generator.random(FRAMES) + skill * truth).astype(np.float32)
        probabilities = np.stack([scores, 1 - scores], axis=1)
        own, labels = ["Arson"] * int(truth.any()), [["Arson"] * int(flag) for flag in truth]
        videos.append(VideoPrediction(f"v{number}", own, labels, scores, probabilities))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, videos, CLASSES, Digests("m", "a", str(seed)), 16)
    return path


def scored(name: str, paths: dict[str, str]) -> TrainingResult:
    """What a training returns."""
    return TrainingResult(
        run=name, run_id="id", paths=paths, tracking_uri="http://tracking", figures={}, quarantined=0,
        model_version="7", standing=None, **unknown_standing(),
    )  # fmt: skip


def compared(folder: Path, anomalous: int = 4) -> Comparison:
    before, after = (
        read_predictions(table(folder / f"{seed}.parquet", seed, skill, anomalous))
        for seed, skill in ((1, 0), (2, 0.2))
    )
    first, second = paired.measure(before), paired.measure(after)
    return Comparison(first.metrics, second.metrics, paired.compare_measured(second, first))


def test_the_class_table_has_a_row_a_class(tmp_path: Path) -> None:
    comparison = compared(tmp_path)
    before, after = (metrics.of_class["auc"]["Arson"] for metrics in (comparison.zero_shot, comparison.trained))
    assert before and after
    rows = [line.split() for line in comparison.class_table().splitlines()]
    values = [f"{before.value:.3f}", f"{after.value:.3f}", f"{after.value - before.value:+.3f}"]
    assert rows[1][:5] == ["AUC", "Arson", *values]
    assert [row[1] for row in rows[1:]] == list(CLASSES)


def test_what_is_undefined_is_said_to_be(tmp_path: Path) -> None:
    comparison = compared(tmp_path, anomalous=0)
    assert comparison.class_table().splitlines()[1].split() == ["AUC", "Arson"] + ["undefined"] * 3
    keys = ["zero_shot", "trained", "difference", "low", "high", "better"]
    assert comparison.figures()["m_auc"] == dict.fromkeys(keys)


def test_the_comparison_of_two_results_is_kept_with_the_most_anomalous_video(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    results = []
    for kind, name, seed, skill in (("runs", "trained", 2, 0.2), ("evaluations", "plain", 1, 0.0)):
        path = table(Path(storage.path(f"{kind}/{name}/evaluation/predictions.parquet")), seed, skill)
        paths = {"run": str(path.parent.parent), "evaluation": str(path.parent)}
        results.append(scored(name, paths))
    fitted = table(Path(storage.path("runs/trained/linear/predictions.parquet")), 3, 0.1)
    results[0].paths["linear"] = str(fitted.parent)
    job = Job(storage, RunConfig(), None, False, "http://tracking")
    with caplog.at_level("INFO", "anomalyclip"):
        result = compare(job, *results, EVENTS)
    assert (result["run"], result["zero_shot"], result["model_version"]) == ("trained", "plain", "7")
    assert result["auc"]["difference"] == pytest.approx(result["auc"]["trained"] - result["auc"]["zero_shot"])
    assert storage.read_json("comparisons/trained/result.json") == result
    assert Path(result["paths"]["timeline"]).is_file()
    printed = storage.read("comparisons/trained/table.txt").decode()
    assert all(part in caplog.text for part in printed.strip("\n").split("\n\n"))
    titles = [line.strip().split("  ")[0] for line in printed.partition("\n\n")[0].splitlines()]
    assert titles[1:] == [
        "this model", "zero-shot CLIP", "logistic regression", "minus zero-shot CLIP", "minus logistic regression",
    ]  # fmt: skip
    after = read_predictions(Path(storage.path("runs/trained/evaluation/predictions.parquet")))
    segments = [(after.scores[after.frames_of(i)][:16], after.scores[after.frames_of(i)][16:]) for i in range(8)]
    highest = int(np.argmax([first.mean() + second.mean() for first, second in segments]))
    assert (result["events"], result["paths"]["report"]) == (3, "/r/report.html")
    assert "/r/report.html: 3 events" in caplog.text
    assert "http://tracking" in caplog.text and f"v{highest}," in caplog.text


def test_results_without_scored_videos_are_not_compared(storage: Storage) -> None:
    job = Job(storage, RunConfig(), None, False, "http://tracking")
    with pytest.raises(JobError, match="street has scored no test video"):
        compare(job, scored("street", {"run": "x"}), scored("plain", {"run": "y"}), EVENTS)
