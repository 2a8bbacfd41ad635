import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError, UsageError
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.tracking import runs as module
from anomalyclip.tracking.registry import log_model
from anomalyclip.tracking.runs import TrackedRun, tracked_run
from anomalyclip.tracking.server import connect

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]
Rows = list[dict[str, float]]


def history(epochs: int) -> Rows:
    return [
        {"epoch": float(n), "loss": 1.0 / (n + 1), "learning_rate": 0.1, "val/video_auc": 0.5} for n in range(epochs)
    ]


def points(tracking: TrackedRun, name: str = "loss") -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in tracking.client.get_metric_history(tracking.run_id, name)]


def expected(epochs: int) -> list[tuple[int, float]]:
    return [(n, 1.0 / (n + 1)) for n in range(epochs)]


def test_an_epoch_is_logged_once_however_often_it_is_told(open_run: OpenRun) -> None:
    with open_run() as tracking:
        for epochs in (1, 1, 3, 2, 3):
            tracking.log_epochs(history(epochs))
        assert points(tracking) == expected(3)
        assert len(points(tracking, "learning_rate")) == len(points(tracking, "val/video_auc")) == 3
        assert points(tracking, "epoch") == []


def test_a_final_fit_has_curves_of_its_own(open_run: OpenRun) -> None:
    with open_run() as tracking:
        tracking.log_epochs(history(3))
        tracking.log_epochs(history(2), "final/")
        assert (points(tracking), points(tracking, "final/loss")) == (expected(3), expected(2))


def test_epochs_are_logged_as_their_checkpoints_appear(open_run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    grown, read = history(1), threading.Semaphore(0)

    def latest() -> Rows:
        read.release()
        if len(grown) == 2:
            grown.append(history(3)[2])
            raise FileNotFoundError("replaced by the next")
        return list(grown)

    with open_run() as tracking:
        with tracking.following(latest):
            for _ in range(4):
                assert read.acquire(timeout=10)
            assert points(tracking) == expected(1)
            grown.append(history(2)[1])
            for _ in range(4):
                assert read.acquire(timeout=10)
            assert points(tracking) == expected(3)
            grown[:] = history(5)  # just before the end
        assert points(tracking) == expected(5)


def test_a_resumed_run_is_the_same_run_without_doubled_points(open_run: OpenRun) -> None:
    with open_run() as tracking:
        run_id = tracking.run_id
        with pytest.raises(KeyboardInterrupt), tracking.following(lambda: history(2)):
            raise KeyboardInterrupt
    with open_run(run_id) as tracking:
        assert tracking.run_id == run_id
        with tracking.following(lambda: history(4)):
            pass
        assert points(tracking) == expected(4)
        assert tracking.client.get_run(run_id).info.run_name == "mine"
    assert tracking.client.get_run(run_id).info.status == "FINISHED"


def test_a_run_that_raises_is_failed_and_can_be_taken_up_again(open_run: OpenRun) -> None:
    with pytest.raises(ValueError, match="broken"), open_run() as tracking:
        raise ValueError("broken")
    assert tracking.client.get_run(tracking.run_id).info.status == "FAILED"
    with open_run(tracking.run_id):
        assert tracking.client.get_run(tracking.run_id).info.status == "RUNNING"


def test_figures_of_a_run_are_logged_once(open_run: OpenRun) -> None:
    with open_run() as tracking:
        tracking.log_metrics({"auc": 0.5})
    with open_run(tracking.run_id) as tracking:
        tracking.log_metrics({"auc": 0.5, "ap": 0.25})
        assert (points(tracking, "auc"), points(tracking, "ap")) == ([(0, 0.5)], [(0, 0.25)])


def test_a_server_that_is_away_for_a_while_costs_no_epoch(open_run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    tried = threading.Semaphore(0)
    with open_run() as tracking:
        log_epochs = tracking.log_epochs

        def away(*arguments: Any) -> None:
            tried.release()
            raise MlflowException("not now")

        monkeypatch.setattr(tracking, "log_epochs", away)
        with tracking.following(lambda: history(2)):
            for _ in range(3):
                assert tried.acquire(timeout=10)
            monkeypatch.setattr(tracking, "log_epochs", log_epochs)
        assert points(tracking) == expected(2)


def test_a_dataset_has_one_name_and_digest_in_trainings_and_evaluations(open_run: OpenRun, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The specified dataset source")
        with open_run() as tracking:
            tracking.log_dataset(tmp_path / "yard.csv", "yard", "ab" * 32, "training")
        with open_run(tracking.run_id) as tracking:
            tracking.log_dataset(tmp_path / "yard.csv", "yard", "ab" * 32, "training")
            dataset = tracking.log_dataset(tmp_path / "yard.csv", "yard", "ab" * 32, "evaluation")
            tracking.log_metrics({"auc": 0.5}, dataset=dataset)
        with open_run() as evaluation:
            evaluation.log_dataset(tmp_path / "yard.csv", "yard", "ab" * 32, "evaluation")
    found = []
    for run in (tracking.read(), evaluation.read()):
        (kept,) = run.inputs.dataset_inputs
        found.append((kept.dataset.name, kept.dataset.digest, kept.tags[0].value))
        assert str(tmp_path / "yard.csv") in kept.dataset.source
    assert found == [("yard", "abababababab", "training"), ("yard", "abababababab", "evaluation")]


def test_settings_that_people_try_out_are_parameters(open_run: OpenRun) -> None:
    config = build_config(RunConfig(), None, ["training.seed=7", "training.workers=2", "cache.max_gigabytes=3"])
    with open_run() as tracking:
        tracking.log_config(config)
        tracking.log_config(config)  # of a resumed run
        run = tracking.client.get_run(tracking.run_id)
        text = Path(tracking.client.download_artifacts(tracking.run_id, "config.yaml")).read_text()
    parameters = run.data.params
    assert (parameters["training.seed"], parameters["model.k"], parameters["loss.smooth"]) == ("7", "3", "0.0008")
    assert not {"training.workers", "data.classes", "cache.max_gigabytes", "tracking.experiment"} & parameters.keys()
    assert yaml.safe_load(text)["cache"]["max_gigabytes"] == 3


def test_artifacts_lie_in_the_storage_root(open_run: OpenRun, storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    with open_run() as tracking:
        tracking.log_artifacts(tmp_path / "out", "evaluation")
    (found,) = Path(storage.path("mlflow/artifacts")).rglob("metrics.json")
    assert found.parent.name == "evaluation"


def test_without_a_run_a_server_or_a_root_for_sqlite_it_is_refused(
    tracking_uri: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(uri: str, run_id: str | None = None) -> str:
        with pytest.raises(UsageError) as caught, tracked_run(uri, storage, "tests", "mine", run_id):
            pass
        assert "\n" not in str(caught.value)
        return str(caught.value)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    assert "needs --tracking-uri or MLFLOW_TRACKING_URI" in refuse("")
    assert f"MLflow at {tracking_uri}: " in refuse(tracking_uri, "0" * 32)
    assert "MLflow at http://127.0.0.1:9: " in refuse("http://127.0.0.1:9")
    assert "MLflow at foo://server: " in refuse("foo://server")
    assert "MLflow at file:///tmp/mlruns: " in refuse("file:///tmp/mlruns")
    assert "MLflow at sqlite:////proc/none/mlflow.db: " in refuse("sqlite:////proc/none/mlflow.db")


def test_a_server_that_fails_in_the_middle_ends_the_work_in_one_line(open_run: OpenRun, tracking_uri: str) -> None:
    with pytest.raises(JobError) as caught, open_run() as tracking:
        raise MlflowException("Max retries exceeded with url: /api")
    assert str(caught.value) == f"MLflow at {tracking_uri}: nothing answers there; the same command goes on from here"
    assert tracking.read().info.status == "FAILED"
    with pytest.raises(MlflowException, match="disk is full"), open_run():  # for `disk_errors`, which names the folder
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")


def test_a_server_that_is_gone_at_the_end_hides_no_error_of_the_work(
    open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = mlflow.end_run

    def gone(status: str) -> None:
        end(status)
        raise MlflowException("Max retries exceeded with url: /api")

    monkeypatch.setattr(mlflow, "end_run", gone)
    with pytest.raises(JobError, match="nothing answers there"), open_run():
        pass
    with pytest.raises(JobError, match="the loss is not finite"), open_run():
        raise JobError("the loss is not finite")


def test_a_tracking_uri_is_the_registry_too(tracking_uri: str) -> None:
    connect(tracking_uri)
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == tracking_uri


def test_an_evaluation_takes_over_what_its_model_was_trained_with(open_run: OpenRun, bundle: Path) -> None:
    with open_run() as training:
        training.log_parameters({"model.k": 3, "training.seed": 7})
        training.log_tags({"protocol": "clean"})
        model_id = log_model(training, bundle)
    with open_run() as evaluation:
        assert evaluation.log_origin(model_id)
        assert evaluation.log_origin(model_id)  # of a resumed run
    found = evaluation.client.get_run(evaluation.run_id).data
    assert (found.params, found.tags["protocol"]) == ({"model.k": "3", "training.seed": "7"}, "clean")


def test_a_model_whose_training_is_gone_or_said_nothing_has_no_origin(
    open_run: OpenRun, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run() as tracking:
        model_id = log_model(tracking, bundle)
        assert not tracking.log_origin(model_id)
        model = tracking.client.get_logged_model(model_id)
        for source in (None, "0" * 32):
            monkeypatch.setattr(
                tracking.client, "get_logged_model", lambda _, source=source: with_source(model, source)
            )
            assert not tracking.log_origin(model_id)
        assert tracking.client.get_run(tracking.run_id).data.params == {}


def with_source(model: Any, run_id: str | None) -> Any:
    return type("Model", (), {"model_id": model.model_id, "source_run_id": run_id})()


@pytest.mark.parametrize("wanted", [None, "true"])
def test_system_metrics_are_logged_only_if_the_user_asks_mlflow_for_them(
    open_run: OpenRun, monkeypatch: pytest.MonkeyPatch, wanted: str | None
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(SystemMetricsMonitor, "start", lambda self: started.append(self))
    if wanted is not None:
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", wanted)
    with open_run():
        assert bool(started) is (wanted is not None)


def test_a_note_of_any_length_fits(open_run: OpenRun) -> None:
    with open_run() as tracking:
        tracking.log_note("x" * 9000)
    assert tracking.read().data.tags["mlflow.note.content"] == "x" * 8000
