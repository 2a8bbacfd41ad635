"""Trials in the driver's process: their MLflow runs, and a table of them in the job's folder."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from anomalyclip.errors import JobError
from anomalyclip.jobs.training import chosen
from anomalyclip.runs import TRIALS_TABLE, RunFolder
from anomalyclip.settings import digest
from anomalyclip.tracking.nested import FAILURE, STOPPED_EARLY, FinalStatus, end_nested, end_orphans, open_nested
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import UNREACHABLE, reason
from anomalyclip.tuning.engine import Draw, run_trials
from anomalyclip.tuning.space import Point, Space
from anomalyclip.tuning.trials import EndedTrial, Outcome, State, Study, Trial

log = logging.getLogger("anomalyclip")

_LOGGED = {"best_video_auc": "validation AUC", "auc": "AUC", "m_auc": "mAUC"}
"""Figures that the log names."""

Spare = Callable[[Sequence[Outcome]], Collection[str]]
"""Of finished trials, the keys of those whose checkpoints are still needed."""


class TrialRuns:
    """Follows the trials of a job: opens and ends their MLflow runs, and keeps how each ended.

    A job that is killed leaves in the table which points were started, in which MLflow runs.
    """

    def __init__(self, parent: TrackedRun, run: RunFolder, study: Study, spare: Spare) -> None:
        self._parent, self._run, self._study, self._spare = parent, run, study, spare
        self._trials: dict[str, Trial] = {}
        self._open: dict[str, TrackedRun] = {}
        self._logged: dict[str, int] = {}
        key = run.part(TRIALS_TABLE)
        self._table: dict[str, dict[str, Any]] = run.storage.read_json(key) if run.storage.exists(key) else {}

    def trial(self, point: Point) -> Trial:
        """Return the trial of a point; its folder is opened once."""
        key = digest(dict(point))
        if key not in self._trials:
            self._trials[key] = self._study.trial(point)
        return self._trials[key]

    def points(self) -> list[Point]:
        """Return the points of all trials that were started."""
        return [row["point"] for _, row in sorted(self._table.items())]

    def has_ended(self, point: Point) -> bool:
        """Return whether a trial is over in this job, with any outcome."""
        return "state" in self._table.get(self.trial(point).folder.name, {})

    def take_over(self, points: Sequence[Point]) -> None:
        """End the trials that another job, or this one before it was killed, has trained to the end."""
        for point in points:
            trial = self.trial(point)
            if not self.has_ended(point) and trial.folder.is_finished():
                by_another = trial.folder.name not in self._table
                self.started(point)
                self._end(trial, "finished", {"looked_up": "true"} if by_another else {})

    def past(self) -> list[EndedTrial]:
        """Return the trials that have ended; failed ones have no epochs."""
        return [
            EndedTrial(each.point, () if each.state == "failed" else self.trial(each.point).history())
            for each in self.outcomes()
        ]

    def started(self, point: Point) -> None:
        """Open a trial's MLflow run: a new one, or that of an earlier attempt."""
        trial = self.trial(point)
        name = trial.folder.name
        if name in self._open:  # its process was lost, and it starts again
            return
        run_id = self._table.get(name, {}).get("run_id")
        self._keep(name, {"point": dict(point), "run_id": run_id})
        tracking = self._open[name] = open_nested(self._parent, trial.name, run_id)
        self._keep(name, {"point": dict(point), "run_id": tracking.run_id})
        tracking.log_config(trial.plan.config)
        tracking.log_tags(trial.tags)

    def look(self) -> None:
        """Log the epochs whose checkpoints are there."""
        for trial in [each for each in self._trials.values() if each.folder.name in self._open]:
            try:
                self._log_epochs(trial)
            except FileNotFoundError:  # a checkpoint just replaced by the next
                continue
            except UNREACHABLE as error:
                log.warning("epochs of %s are not logged for now: %s", trial.name, reason(error))

    def ended(self, point: Point) -> None:
        """Keep the outcome of a trial that was trained to the end, or stopped before."""
        trial = self.trial(point)
        if trial.folder.is_finished():
            self._end(trial, "finished", {})
        else:
            self._end(trial, "stopped early", {STOPPED_EARLY: str(len(trial.history()))})

    def failed(self, point: Point, reason: str) -> None:
        """Keep why a trial failed; its checkpoints stay, to resume from."""
        trial = self.trial(point)
        self._close(trial, "FAILED", {}, {FAILURE: reason})
        self._keep_outcome(trial, "failed", {}, reason)
        log.warning("%s failed: %s", trial.name, reason)

    def close(self) -> None:
        """Leave no run of a trial open."""
        for name in list(self._open):
            end_nested(self._open.pop(name), "KILLED")
        end_orphans(self._parent)

    def outcomes(self) -> list[Outcome]:
        """Return how all trials ended that have ended."""
        return [
            Outcome(key, self.trial(row["point"]).name, row["point"], row["state"], row["epochs"], row["figures"],
                    row.get("reason"))
            for key, row in sorted(self._table.items())
            if "state" in row
        ]  # fmt: skip

    def raise_failures(self, consequence: str = "") -> None:
        """Raise JobError with the first failure, and forget what is not finished: the same command tries it again."""
        outcomes = self.outcomes()
        failures = [each for each in outcomes if each.state == "failed"]
        for each in outcomes:
            if each.state != "finished":
                row = self._table[each.key]
                self._keep(each.key, {"point": row["point"], "run_id": row["run_id"]})
        first = f"{failures[0].name}: {failures[0].reason}"
        raise JobError(f"{len(failures)} of {len(outcomes)} trials failed{consequence}; the first, {first}")

    def _end(self, trial: Trial, state: State, tags: Mapping[str, str]) -> None:
        history, result = trial.history(), trial.result()
        figures = {**chosen(history, trial.plan.config.training.chosen_epoch), **(result.figures if result else {})}
        self._close(trial, "FINISHED" if state == "finished" else "KILLED", figures, tags)
        self._keep_outcome(trial, state, figures)
        shown = ", ".join(f"{title} {figures[name]:.4f}" for name, title in _LOGGED.items() if name in figures)
        log.info("%s: %s, %s after %d epochs", trial.name, shown or "no figures", state, len(history))
        self._tidy()

    def _close(self, trial: Trial, status: FinalStatus, figures: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log the remaining figures of a trial, and end its MLflow run."""
        self._log_epochs(trial)
        tracking = self._open[trial.folder.name]
        tracking.log_metrics(figures)
        tracking.log_tags(tags)
        end_nested(self._open.pop(trial.folder.name), status)

    def _log_epochs(self, trial: Trial) -> None:
        name, history = trial.folder.name, trial.history()
        if len(history) > self._logged.get(name, 0):
            self._open[name].log_epochs(history)
            self._logged[name] = len(history)

    def _keep_outcome(
        self, trial: Trial, state: State, figures: Mapping[str, float], reason: str | None = None
    ) -> None:
        row = self._table[trial.folder.name]
        epochs = len(trial.history())
        outcome = {"state": state, "epochs": epochs, "figures": dict(figures)}
        self._keep(trial.folder.name, {**row, **outcome, **({"reason": reason} if reason else {})})

    def _keep(self, name: str, row: dict[str, Any]) -> None:
        self._table[name] = row
        self._run.storage.write_json(self._run.part(TRIALS_TABLE), self._table)

    def _tidy(self) -> None:
        """Remove the checkpoints of finished trials that are not needed any longer."""
        finished = [each for each in self.outcomes() if each.state == "finished"]
        needed = self._spare(finished) if finished else ()
        for each in finished:
            if each.key not in needed:
                self.trial(each.point).remove_checkpoints()


def run_remaining(study: Study, runs: TrialRuns, points: Sequence[Point], space: Space | None = None) -> None:
    """Run the trials of the points that have not ended; with a space, draw more, up to its number of trials."""
    drawn = max(0, (space.trials or 0) - len(points)) if space else 0
    try:
        runs.take_over(points)
        todo = [point for point in points if not runs.has_ended(point)]
        total = len(points) + drawn
        log.info("%d of %d trials remaining", len(todo) + drawn, total)
        run_trials(study, todo, total, runs, Draw(space, drawn, runs.past()) if space else None)
    finally:
        runs.close()
