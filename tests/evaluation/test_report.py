import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import read_predictions, write_predictions
from anomalyclip.evaluation.report import METRICS, PLOTS, log_summary, write_report
from anomalyclip.runs import PREDICTIONS

CLASSES = ("Arson", "Fighting", "Normal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    videos = []
    for number in range(6):
        labels = [["Fighting"] if number % 2 and frame > 20 else [] for frame in range(40)]
        labels[0] = ["Strange"] if number == 1 else []
        own = sorted({name for names in labels for name in names})
        probabilities = generator.dirichlet(np.ones(3), 40).astype(np.float32).clip(0, 1)
        videos.append(VideoPrediction(f"v{number}", own, labels, 1 - probabilities[:, 2], probabilities))
    write_predictions(tmp_path / PREDICTIONS, videos, CLASSES, Digests("m", "a", "b"), 16)
    return tmp_path


def test_figures_and_plots_stand_beside_the_predictions(folder: Path) -> None:
    measured = write_report(folder)
    metrics = measured.metrics
    assert measured.predictions.video_ids == tuple(f"v{number}" for number in range(6))
    assert metrics.flat() == compute_metrics(read_predictions(folder / PREDICTIONS)).flat()
    written = json.loads((folder / METRICS).read_text())
    expected = {"absent_classes": ["Arson"], "unknown_classes": ["Strange"], "videos_without_intervals": 0}
    assert written == metrics.flat() | expected
    assert list((folder / PLOTS).glob("*.png"))


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such predictions table"):
        write_report(tmp_path)


def test_the_summary_has_every_figure_and_the_classes_that_have_none(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = compute_metrics(read_predictions(folder / PREDICTIONS))
    with caplog.at_level(logging.INFO, "anomalyclip"):
        log_summary(metrics)
    value, interval = metrics.value("auc"), metrics.interval("auc")
    assert value and interval
    assert caplog.messages[0].startswith("6 test videos, 240 frames:")
    assert re.search(rf"\n  AUC +{value:.3f} \({interval.low:.3f} to {interval.high:.3f}\)\n", caplog.messages[0])
    for title in ("AUC", "mAUC", "AP", "mAP", "video AUC", "video mAP"):
        assert f"\n  {title}  " in caplog.messages[0]
    assert "do not occur in the test videos, left out of the means: Arson" in caplog.text
    assert "the model does not know, left out of the means: Strange" in caplog.text


def test_the_report_of_videos_without_intervals_names_what_is_missing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    videos = []
    for number in range(6):
        probabilities = rng.dirichlet(np.ones(3), 40).astype(np.float32).clip(0, 1)
        own, labels = (["Fighting"], None) if number % 2 else ([], [[]] * 40)
        videos.append(VideoPrediction(f"v{number}", own, labels, 1 - probabilities[:, 2], probabilities))
    write_predictions(folder / PREDICTIONS, videos, CLASSES, Digests("m", "a", "b"), 16)
    metrics = write_report(folder).metrics
    with caplog.at_level(logging.INFO, "anomalyclip"):
        log_summary(metrics)
    assert re.search("\n  AUC +undefined: no test video has frame intervals\n", caplog.messages[0])
    assert re.search(r"\n  video AUC +0\.", caplog.messages[0])
    assert re.search("\n  median delay \\(s\\) +undefined: no test video has frame intervals\n", caplog.messages[0])
    assert "3 of 3 anomalous test videos have no frame intervals: they count in the figures of whole" in caplog.text
    assert "classes without any frame interval, left out of the means over frames: Fighting" in caplog.text
    written = json.loads((folder / METRICS).read_text())
    assert written["videos_without_intervals"] == 3 and "auc" not in written and "video_auc" in written
    assert {path.name for path in (folder / PLOTS).glob("*.png")} == {"class_auc.png", "timelines.png"}
