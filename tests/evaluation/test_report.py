import json
import logging
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Digests, VideoPrediction, read_predictions, write_predictions
from anomalyclip.evaluation.report import METRICS, PLOTS, PREDICTIONS, log_summary, write_report

CLASSES = ("Arson", "Fighting", "Normal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    videos = []
    for number in range(6):
        labels = [["Fighting"] if number % 2 and frame > 20 else [] for frame in range(40)]
        labels[0] = ["Strange"] if number == 1 else []
        probabilities = generator.dirichlet(np.ones(3), 40).astype(np.float32).clip(0, 1)
        videos.append(VideoPrediction(f"v{number}", labels, 1 - probabilities[:, 2], probabilities))
    write_predictions(tmp_path / PREDICTIONS, videos, CLASSES, Digests("m", "a", "b"))
    return tmp_path


def test_figures_and_plots_stand_beside_the_predictions(folder: Path) -> None:
    metrics = write_report(folder)
    assert metrics == compute_metrics(read_predictions(folder / PREDICTIONS))
    written = json.loads((folder / METRICS).read_text())
    expected = {"absent_classes": ["Arson"], "unknown_classes": ["Strange"]}
    assert written == metrics.flat() | expected
    assert list((folder / PLOTS).glob("*.png"))


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such predictions table"):
        write_report(tmp_path)


def test_the_summary_says_every_figure_and_which_classes_have_none(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = compute_metrics(read_predictions(folder / PREDICTIONS))
    with caplog.at_level(logging.INFO, "anomalyclip"):
        log_summary(metrics)
    assert metrics.auc_interval is not None
    low, high = metrics.auc_interval.low, metrics.auc_interval.high
    assert f"AUC        {metrics.auc:.4f}  95 % interval {low:.4f} to {high:.4f}" in caplog.messages
    assert [line.split()[0] for line in caplog.messages[:5]] == ["AUC", "mAUC", "AP", "mAP", "video"]
    assert "left out of the means: Arson" in caplog.text
    assert "null and left out of the means: Strange" in caplog.text
