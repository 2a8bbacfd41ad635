"""Trials: trainings that belong to one job, each a run nested in the job's."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from anomalyclip.evaluation.predictions import Predictions, read_predictions
from anomalyclip.evaluation.report import PREDICTIONS
from anomalyclip.jobs.training import chosen
from anomalyclip.runs import CHECKPOINTS, EVALUATION, FINAL, RunFolder
from anomalyclip.tracking.nested import FAILURE, FinalStatus, end_nested, open_nested
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import UNREACHABLE, reason
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.tuning.engine import FitResult
from anomalyclip.tuning.side_by_side import Figures

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class ScoredTrial:
    """What a trial that was scored on the test videos returns."""

    run_id: str
    figures: Figures


@dataclass(frozen=True)
class Trial:
    """One training: what it is called, what distinguishes it, and its place."""

    name: str
    tags: Mapping[str, str]
    run: RunFolder
    plan: FitPlan
    fit: RunFolder | None = None
    """Of a fit that several jobs share: its own place, where its result outlives its checkpoints."""

    def history(self) -> list[EpochMetrics]:
        """Return the metrics of every epoch so far."""
        kept = self.fit.result(FitResult) if self.fit else None
        return list(kept.history) if kept else self.plan.checkpoints().history()

    def predictions(self) -> Predictions:
        """Return the finished trial's predictions."""
        with self.run.storage.local(self.run.part(f"{EVALUATION}/{PREDICTIONS}")) as path:
            return read_predictions(path)


class TrialRuns:
    """Follows trials and keeps their MLflow runs: each opened when there is something to log, and ended in any case."""

    def __init__(self, parent: TrackedRun, tracking_uri: str, trials: Mapping[str, Trial]) -> None:
        self._parent, self._tracking_uri, self._trials = parent, tracking_uri, dict(trials)
        self._open: dict[str, TrackedRun] = {}
        self._logged: dict[str, int] = {}
        self.failures: dict[str, str] = {}

    def look(self) -> None:
        """Log the epochs whose checkpoints are there."""
        for name in self._trials:
            try:
                self._log_epochs(name)
            except FileNotFoundError:  # a checkpoint just replaced by the next
                continue
            except UNREACHABLE as error:
                log.warning("epochs of %s are not logged for now: %s", name, reason(error))

    def finished(self, name: str, figures: Figures) -> None:
        """Log what a trial came to, keep it, and remove its checkpoints."""
        run, history = self._trials[name].run, self._trials[name].history()
        run_id = self.end(name, "FINISHED", chosen(history) | figures)
        run.finish(ScoredTrial(run_id, figures))
        for fits in (CHECKPOINTS, FINAL):
            run.storage.delete(run.part(fits))
        log.info("%s: %s", name, ", ".join(f"{key} {figures[key]:.4f}" for key in ("auc", "m_auc") if key in figures))

    def failed(self, name: str, reason: str) -> None:
        """Note why a trial failed; its checkpoints stay, to go on from."""
        self.end(name, "FAILED", tags={FAILURE: reason})
        self.failures[name] = reason
        log.warning("%s failed: %s", name, reason)

    def start(self, trial: Trial) -> None:
        """Follow one more trial, and open its run."""
        self._trials[trial.name] = trial
        self._run(trial.name)

    def end(
        self,
        name: str,
        status: FinalStatus,
        figures: Figures | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Log the epochs that are left, figures and tags, end a trial's run, and return that run's id."""
        self._log_epochs(name)
        tracking = self._run(name)
        tracking.log_metrics(figures or {})
        tracking.log_tags(tags or {})
        self._end(name, status)
        del self._trials[name]
        return tracking.run_id

    def kill(self) -> None:
        """End the runs that are still open."""
        for name in list(self._open):
            self._end(name, "KILLED")

    def _log_epochs(self, name: str) -> None:
        history = self._trials[name].history()
        if len(history) > self._logged.get(name, 0):
            self._run(name).log_epochs(history)
            self._logged[name] = len(history)

    def _run(self, name: str) -> TrackedRun:
        """Return a trial's run, opened."""
        if name not in self._open:
            trial = self._trials[name]
            tracking = open_nested(self._parent, name, trial.run.mlflow_run(self._tracking_uri))
            self._open[name] = tracking
            trial.run.keep_mlflow_run(self._tracking_uri, tracking.run_id)
            tracking.log_config(trial.plan.config)
            tracking.log_tags(trial.tags)
        return self._open[name]

    def _end(self, name: str, status: FinalStatus) -> None:
        end_nested(self._open.pop(name), status)
