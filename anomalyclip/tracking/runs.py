"""MLflow runs: one process writes, and a resumed job finds its run again."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import LoggedModelStatus, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from anomalyclip.config import RunConfig
from anomalyclip.errors import JobError
from anomalyclip.full_disk import is_full_disk
from anomalyclip.redaction import redact, without_login
from anomalyclip.runs import result_settings
from anomalyclip.settings import to_yaml
from anomalyclip.storage import Storage
from anomalyclip.tracking.artifact_store import check_artifact_store
from anomalyclip.tracking.server import AGAIN, SERVER_ERRORS, UNREACHABLE, asking_once, mlflow_errors, reach, reason

log = logging.getLogger("anomalyclip")

EpochMetrics = Mapping[str, float]
POLL_SECONDS = 1.0
DESCRIPTION = (
    "dataset", "manifest_digest", "training_videos", "test_videos", "classes", "protocol", "backbone",
    "backbone_identity", "imported_features",
)  # fmt: skip
"""Tags that state what a run was made from; nested runs copy them."""
TRIED_OUT = ("model", "loss", "training")
"""Sections whose settings are parameters; tags and datasets state what was read."""
NOTE_LENGTH = 8000
"""Characters of a run's description that MLflow keeps."""
DIGEST_LENGTH = 12
"""Hex digits of a manifest's digest that MLflow shows after a dataset's name."""


class TrackedRun:
    """One MLflow run, open in this process."""

    def __init__(self, run_id: str, client: mlflow.MlflowClient) -> None:
        self.run_id, self.client = run_id, client

    def log_config(self, config: RunConfig) -> None:
        """Log the settings that people try out as parameters `section.key`, and the whole configuration as a file."""
        tried = {name: value for name, value in result_settings(config).items() if name.partition(".")[0] in TRIED_OUT}
        self.log_settings(tried, to_yaml(config))

    def log_settings(self, parameters: Mapping[str, Any], file: str) -> None:
        """Log parameters, and a configuration's YAML as a file."""
        self.log_parameters(parameters)
        self.client.log_text(self.run_id, file, "config.yaml")

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters; those of an earlier attempt must be the same."""
        self.client.log_batch(
            self.run_id, params=[Param(name, redact(str(value))) for name, value in parameters.items()]
        )

    def log_origin(self, model_id: str) -> bool:
        """Copy the parameters and the protocol of the run that a logged model comes from, to compare by them.

        Returns False if there is no such run or it has no parameters.
        """
        source = self.client.get_logged_model(model_id).source_run_id
        try:
            origin = self.client.get_run(source).data if source else None
        except MlflowException:  # gone for good
            origin = None
        if origin is None or not origin.params:
            return False
        self.log_parameters(origin.params)
        self.log_tags({"protocol": origin.tags.get("protocol", "none")})
        return True

    def log_dataset(self, manifest: Path, name: str, digest: str, context: str) -> MetaDataset:
        """Log a manifest, a local file, as the run's input and return MLflow's dataset.

        A dataset has the same name and digest, the whole manifest's, in trainings and evaluations; MLflow keeps it once
        per run, with the context that came first.
        """
        source = LocalArtifactDatasetSource(str(manifest.resolve()))  # of a bare path MLflow warns
        dataset = MetaDataset(source, name=name, digest=digest[:DIGEST_LENGTH])
        mlflow.log_input(dataset, context=context)
        return dataset

    def log_note(self, text: str) -> None:
        """Set the run's description, Markdown."""
        self.client.set_tag(self.run_id, MLFLOW_RUN_NOTE, redact(text)[:NOTE_LENGTH])

    def read(self) -> Run:
        """Return the run as MLflow has it."""
        return self.client.get_run(self.run_id)

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, redact(str(value)))

    def log_epochs(self, history: Sequence[EpochMetrics], prefix: str = "") -> None:
        """Log those epochs of a history that the run does not have yet, each in one transaction."""
        # asked of MLflow, not remembered: a killed driver may have logged an epoch without noting so
        done = {metric.step for metric in self.client.get_metric_history(self.run_id, f"{prefix}loss")}
        for step, row in enumerate(history):
            if step not in done:
                now = int(time.time() * 1000)
                metrics = [
                    Metric(f"{prefix}{name}", value, now, step) for name, value in row.items() if name != "epoch"
                ]
                self.client.log_batch(self.run_id, metrics=metrics)

    def log_step(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures of a step in one transaction, without those that an earlier attempt logged."""
        now = int(time.time() * 1000)
        new = {
            name: value
            for name, value in figures.items()
            if all(metric.step != step for metric in self.client.get_metric_history(self.run_id, name))
        }
        self.client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in new.items()])

    def log_metrics(self, metrics: EpochMetrics, model_id: str | None = None, dataset: Any = None) -> None:
        """Log figures of the whole run, once, linked to a logged model and a dataset if given."""
        logged = self.read().data.metrics
        new = {name: value for name, value in metrics.items() if name not in logged}
        mlflow.log_metrics(new, run_id=self.run_id, model_id=model_id, dataset=dataset)

    def log_artifacts(self, folder: Path, artifact_path: str) -> None:
        """Upload the files of a folder."""
        self.client.log_artifacts(self.run_id, str(folder), artifact_path)

    @contextmanager
    def following(
        self,
        history: Callable[[], Sequence[EpochMetrics]],
        prefix: str = "",
        show: Callable[[EpochMetrics], None] = lambda row: None,
    ) -> Iterator[None]:
        """Log epochs as their checkpoints appear; `history` reads those of the latest complete checkpoint.

        `show` is given each new epoch.
        """
        stop = threading.Event()
        logged, before = 0, len(history())
        if before:
            log.info("resuming after epoch %d", before - 1)

        def log_new() -> None:
            nonlocal logged
            rows = history()
            if len(rows) > logged:
                self.log_epochs(rows, prefix)
                for row in rows[max(logged, before) :]:
                    log.info("%s", _epoch_line(row))
                    show(row)
                logged = len(rows)

        def poll() -> None:
            while not stop.wait(POLL_SECONDS):
                try:
                    log_new()
                except FileNotFoundError:  # the next checkpoint has just replaced this one
                    continue
                except UNREACHABLE as error:
                    log.warning("epochs are not logged at the moment, they will be later: %s", reason(error))

        # a thread of the driver: workers know nothing of MLflow, and one writer logs each epoch exactly once
        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            log_new()


@contextmanager
def tracked_run(
    tracking_uri: str, storage: Storage, experiment: str, name: str, run_id: str | None = None
) -> Iterator[TrackedRun]:
    """Open a new run, or that of an earlier attempt; it ends FINISHED, FAILED or KILLED.

    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true adds system metrics. Raises UsageError if the server cannot be reached or
    the run is gone; JobError if MLflow fails later, for longer than it is asked again.
    """
    client = reach(tracking_uri)
    with mlflow_errors(tracking_uri):
        experiment_id = _experiment(client, experiment, tracking_uri, storage)
        run = mlflow.start_run(run_id, experiment_id, run_name=None if run_id else name)
    with _ended(tracking_uri):
        tracked = TrackedRun(run.info.run_id, client)
        if run_id is None and (commit := get_git_commit(__file__)):
            tracked.log_tags({"mlflow.source.git.commit": commit})
        yield tracked


@contextmanager
def _ended(tracking_uri: str) -> Iterator[None]:
    """End the open run as the work inside ended; MLflow's own failures become a JobError."""
    try:
        yield
        mlflow.end_run("FINISHED")
    except BaseException as error:
        with suppress(*SERVER_ERRORS), asking_once():  # what ended the work is what counts
            mlflow.end_run("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, SERVER_ERRORS) and not is_full_disk(error):
            raise JobError(f"MLflow at {tracking_uri}: {reason(error)}; {AGAIN}") from error
        raise


def logged_model(client: mlflow.MlflowClient, run_id: str) -> str | None:
    """Return the id of a run's logged model; one whose upload was interrupted does not count."""
    outputs = client.get_run(run_id).outputs
    ids = [output.model_id for output in outputs.model_outputs] if outputs else []
    ready = [model_id for model_id in ids if client.get_logged_model(model_id).status == LoggedModelStatus.READY]
    return ready[-1] if ready else None


def _experiment(client: mlflow.MlflowClient, name: str, tracking_uri: str, storage: Storage) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        check_artifact_store(found.artifact_location)
        return str(found.experiment_id)
    # SQLite has no server to decide it, and MLflow's default is a folder where the command happened to run
    root = without_login(storage.root).partition("?")[0]
    location = f"{root}/mlflow/artifacts" if tracking_uri.startswith("sqlite:") else None
    made = str(client.create_experiment(name, artifact_location=location))
    check_artifact_store(client.get_experiment(made).artifact_location)  # a server chooses its own
    return made


def _epoch_line(row: EpochMetrics) -> str:
    parts = [f"epoch {row['epoch']:.0f}", f"lr {row['learning_rate']:.2g}", f"loss {row['loss']:.4f}"]
    parts += [f"{name} {value:.4f}" for name, value in row.items() if name.startswith("val/")]
    return "  ".join(parts)
