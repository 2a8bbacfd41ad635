"""The demo end to end, on fewer and shorter videos than it draws."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pytest

from anomalyclip.evaluation.comparison import compare
from anomalyclip.evaluation.predictions_file import read_predictions
from tests.commands import demo

pytestmark = pytest.mark.cluster
Result = dict[str, Any]
Again = Callable[[], Result]


@pytest.fixture(scope="module")
def again(ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str]) -> Again:
    """The same command, whenever it is called."""

    def run() -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("anomalyclip.jobs.demo.drawn_manifest", lambda storage: drawn_manifest)
            return demo(["--storage", str(storage_root), *options, "--set", "training.epochs=3"])

    return run


@pytest.fixture(scope="module")
def result(again: Again) -> Result:
    return again()


def test_it_registers_a_model_of_two_workers_and_compares_it_on_the_same_videos(result: Result) -> None:
    after, before = (
        read_predictions(Path(result["paths"][name]) / "evaluation/predictions.parquet")
        for name in ("run", "zero_shot")
    )
    for name, difference in compare(after, before).figures.items():
        if name in ("auc", "m_auc"):
            assert difference and result[name]["difference"] == difference.value
    client = mlflow.MlflowClient(result["tracking_uri"])
    assert client.get_model_version("anomalyclip-benchmark", result["model_version"]).tags["run_id"]
    assert "<html" in Path(result["paths"]["report"]).read_text()
    assert "workers: 2" in (Path(result["paths"]["run"]) / "config.yaml").read_text()


def test_a_second_time_nothing_is_done_again_and_the_same_table_comes(
    result: Result, again: Again, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for job in ("training", "evaluation"):
        monkeypatch.setattr(f"anomalyclip.jobs.{job}.tracked", None)  # no run may be begun
    with caplog.at_level("INFO", "anomalyclip"):
        assert again() == result
    assert f"{result['auc']['difference']:+.3f}" in caplog.text
