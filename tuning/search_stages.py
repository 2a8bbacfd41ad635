"""The stages of `tuning/search.py`: trials over a space, judged on the validation part, and the winner's model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.config import to_yaml, with_settings
from anomalyclip.errors import JobError, UsageError
from anomalyclip.job import Job
from anomalyclip.jobs import training
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.training import Training, TrainingResult, chosen
from anomalyclip.runs import CHECKPOINTS, CONTENT, REPORT, RESULT, TRIALS, RunFolder, RunKind, RunResult, open_run
from anomalyclip.storage import scratch
from anomalyclip.tracking.nested import FAILURE, STOPPED_EARLY, end_strays
from anomalyclip.tracking.promotion import ModelRegistry
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import reach
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.tuning.engine import Past, SearchPlan, run_trials
from anomalyclip.tuning.search_report import Outcome, State, best_of, save_search_report
from anomalyclip.tuning.space import Point, Space, describe
from anomalyclip.tuning.trials import Trial, TrialRuns

log = logging.getLogger("anomalyclip")

BEST = "best.yaml"
LONGEST_DESCRIPTION = 4
"""Values up to which a trial is called by them."""
WINNER = "-best"
"""Behind a search's name: the run that trains its winner on all training videos."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial of a search returns."""

    run_id: str
    state: State
    epochs: int
    figures: Mapping[str, float]
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult(RunResult):
    """What a search returns."""

    trials: Mapping[str, int]
    """How many by their state."""
    best: Mapping[str, Any]
    """The winner's values."""
    best_epoch: float
    best_video_auc: float
    best_loss: float
    winner: Mapping[str, str]
    """Name and id of its run, and the version of its model."""
    figures: Mapping[str, float | None]
    """Of the winner, on the test videos."""


def search_job(job: Job, workers: int | None) -> Job:
    """Return the job with what every search has: a validation part, and a final fit of the winner alone.

    Raises UsageError for a protocol without validation part, and for workers that do not divide the batch.
    """
    if job.config.training.protocol != "clean":
        raise UsageError(
            f"a search chooses on a validation part, and training.protocol={job.config.training.protocol} has none: "
            "--set training.protocol=clean holds one out"
        )
    changes = [("--workers", "training.workers", workers)] if workers is not None else []
    config = with_settings(job.config, [*changes, ("search", "training.final_fit", True)])
    return replace(job, config=config)


def prepare(job: Job, manifest_path: Path | None, space: Space, resume: bool) -> Training:
    """Check everything that can be wrong before work starts, and open the search's folder; raises UsageError.

    `resume` refuses a search that was never begun.
    """
    if resume and job.fresh:
        raise UsageError("--resume goes on with what is there, --fresh removes it: give one of them")
    space.check(job.config)
    _refuse_foreign_winner(job)
    prepared = training.prepare(job, manifest_path, RunKind.SEARCH, more=space.content())
    if resume and not job.storage.exists(prepared.run.part(CONTENT)):
        raise UsageError(f"there is nothing to resume: {prepared.run.uri()} was never started")
    if job.fresh:
        job.storage.delete(f"{RunKind.TRAINING}/{prepared.run.name}{WINNER}")
    return prepared


def run(tracking: TrackedRun, job: Job, prepared: Training, search: SearchPlan) -> list[Outcome]:
    """Run the trials that have not ended yet, each as a run nested in the search's, and return what all came to.

    Raises JobError where no trial was finished; the same command tries again then.
    """
    space, trials = search.space, Trials(tracking, job, prepared.run, search)
    known = space.points() if space.trials is None else trials.points()
    drawn = 0 if space.trials is None else max(0, space.trials - len(known))
    try:
        for point in known:
            trials.look_up(point)
        todo = [point for point in known if not trials.has_ended(point)]
        log.info("%d of %d trials are to do", len(todo) + drawn, len(known) + drawn)
        run_trials(search, todo, drawn, trials.past(), trials)
    finally:
        trials.close()
    return trials.judged()


def plan(job: Job, prepared: Training, extracted: Extracted, space: Space) -> SearchPlan:
    """Return what the search's trials have in common; each is the first of the winner's two fits."""
    base = training.fit_plan(job, prepared, extracted)
    content = {
        "manifest": prepared.source.digest,
        "backbone": prepared.backbone_identity,
        "features": extracted.digest(),
    }
    config = with_settings(job.config, [("search", "training.final_fit", False)])
    return SearchPlan(replace(base, config=config), space, content)


def _refuse_foreign_winner(job: Job) -> None:
    """Raise UsageError where the run that will train the winner is there already, and not of this search."""
    winner = f"{RunKind.TRAINING}/{job.name}{WINNER}"
    started = job.storage.exists(f"{RunKind.SEARCH}/{job.name}")
    if job.name and not job.fresh and job.storage.exists(winner) and not started:
        raise UsageError(f"the winner's run {job.name}{WINNER} exists already: choose another --name, or --fresh")


class Trials:
    """The trials of a search: told how each is doing, and kept in the search's folder and in MLflow."""

    def __init__(self, tracking: TrackedRun, job: Job, run: RunFolder, search: SearchPlan) -> None:
        self._storage, self._run, self._search = job.storage, run, search
        self._runs = TrialRuns(tracking, job.tracking_uri, {})
        self._parent = tracking

    def points(self) -> list[Point]:
        """Return the points of all trials that were begun."""
        begun = self._run.part(TRIALS)
        return [self._storage.read_json(f"{begun}/{name}/{CONTENT}")["point"] for name in self._storage.list(begun)]

    def look_up(self, point: Point) -> None:
        """Take over what another search, or this one before it was killed, has trained to the end."""
        if not self.has_ended(point) and self._search.fit(point).is_finished():
            trial = self._trial(point)
            self._runs.start(replace(trial, tags={**trial.tags, "looked_up": "true"}))
            self.ended(point)

    def has_ended(self, point: Point) -> bool:
        """Return whether a trial has ended in this search, in whatever way."""
        return self._trial(point).run.is_finished()

    def past(self) -> list[Past]:
        """Return the trials that have ended, failed ones without epochs."""
        ended = [(self._outcome(point), self._trial(point)) for point in self.points() if self.has_ended(point)]
        return [Past(each.point, () if each.state == "failed" else trial.history()) for each, trial in ended]

    def started(self, point: Point) -> None:
        """Open a trial's run."""
        self._runs.start(self._trial(point))

    def look(self) -> None:
        """Log the epochs whose checkpoints are there."""
        self._runs.look()

    def ended(self, point: Point) -> None:
        """Keep what a trial came to, that was trained to the end or stopped before."""
        trial = self._trial(point)
        history, whole = trial.history(), self._search.fit(point).is_finished()
        figures = chosen(history)
        tags = {} if whole else {STOPPED_EARLY: str(len(history))}
        run_id = self._runs.end(trial.name, "FINISHED" if whole else "KILLED", figures, tags)
        state: State = "finished" if whole else "stopped early"
        trial.run.finish(TrialResult(run_id, state, len(history), figures))
        log.info(
            "%s: validation AUC %.4f, %s after %d epochs", trial.name, figures["best_video_auc"], state, len(history)
        )
        self._tidy()

    def failed(self, point: Point, reason: str) -> None:
        """Keep why a trial failed."""
        trial = self._trial(point)
        epochs = len(trial.history())
        run_id = self._runs.end(trial.name, "FAILED", tags={FAILURE: reason})
        trial.run.finish(TrialResult(run_id, "failed", epochs, {}, reason))
        log.warning("%s failed: %s", trial.name, reason)

    def close(self) -> None:
        """Leave no run of a trial open."""
        self._runs.kill()
        end_strays(self._parent)

    def judged(self) -> list[Outcome]:
        """Return what all trials came to; raises JobError, and forgets it, where none was finished."""
        outcomes = [self._outcome(point) for point in self.points()]
        if any(each.state == "finished" for each in outcomes):
            return outcomes
        for each in outcomes:
            self._storage.delete(self._trial(each.point).run.part(RESULT))
        failures = [each for each in outcomes if each.state == "failed"]
        first = f"{failures[0].name}: {failures[0].reason}"
        raise JobError(f"{len(failures)} of {len(outcomes)} trials failed, and none was finished; the first, {first}")

    def _trial(self, point: Point) -> Trial:
        fit = self._search.fit(point)
        run = open_run(self._storage, self._run.part(TRIALS), fit.name, "", {"point": dict(point)})
        name = describe(point) if len(point) <= LONGEST_DESCRIPTION else fit.name
        return Trial(name, {"trial": fit.name}, run, self._search.plan(point), fit)

    def _outcome(self, point: Point) -> Outcome:
        trial = self._trial(point)
        kept = trial.run.result(TrialResult)
        assert kept is not None
        return Outcome(trial.name, point, kept.state, kept.epochs, kept.figures, kept.reason)

    def _tidy(self) -> None:
        """Remove the checkpoints of finished trials, but those of the best."""
        outcomes = [self._outcome(point) for point in self.points() if self.has_ended(point)]
        if not any(each.state == "finished" for each in outcomes):
            return
        best = best_of(outcomes, self._search.space)
        for each in outcomes:
            if each.state == "finished" and each is not best:
                self._storage.delete(self._search.fit(each.point).part(CHECKPOINTS))


def report(tracking: TrackedRun, job: Job, prepared: Training, space: Space, outcomes: Sequence[Outcome]) -> Outcome:
    """Keep the table of trials, a plot a parameter and the best configuration; returns the best trial."""
    best = best_of(outcomes, space)
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        log.info("\n\n%s", text := save_search_report(outcomes, best, space, folder))
        tracking.log_note(text)
        (folder / BEST).write_text(to_yaml(space.applied(job.config, best.point)))
        tracking.log_artifacts(folder, REPORT)
        prepared.run.publish(folder, REPORT)
    tracking.log_metrics(best.figures)
    states = Counter(each.state for each in outcomes)
    tracking.log_tags({"best": best.name, **{f"trials_{state.replace(' ', '_')}": n for state, n in states.items()}})
    return best


def train_winner(
    job: Job, manifest_path: Path | None, prepared: Training, search: SearchPlan, best: Outcome
) -> TrainingResult:
    """Train the winner on all training videos, read its test figures, and make it the candidate; returns the result.

    It is a run as `train.py --config best.yaml` makes one; the fit that chose its epoch is the trial's own.
    """
    config = search.space.applied(job.config, best.point)
    own = replace(job, config=config, name=f"{prepared.run.name}{WINNER}", fresh=False)
    winner = training.prepare(own, manifest_path)
    trial, checkpoints = search.plan(best.point).checkpoints(), CheckpointStore(job.storage, winner.run.key)
    if not winner.run.is_finished() and not checkpoints.epochs():
        for epoch in trial.epochs():
            checkpoints.save(trial.load(epoch), keep=trial.epochs())
    result = training.run(own, winner)
    registry = ModelRegistry(reach(job.tracking_uri), job.config.tracking.model_name)
    registry.put_up(result.model_version)
    log.info("models:/%s/%s is the candidate", registry.name, result.model_version)
    return result


def finish(
    job: Job, prepared: Training, run_id: str, outcomes: Sequence[Outcome], best: Outcome, winner: TrainingResult
) -> SearchResult:
    """Put the winner's test figures beside the search, and keep and return the search's result."""
    parent = TrackedRun(run_id, reach(job.tracking_uri))
    parent.log_metrics({name: value for name, value in winner.figures.items() if value is not None})
    parent.log_tags({"winner": winner.run_id, "model_version": winner.model_version})
    TrackedRun(winner.run_id, parent.client).log_tags({"search": run_id})
    run = prepared.run
    result = SearchResult(
        run=run.name,
        run_id=run_id,
        paths={**run.published(REPORT), "config": run.uri(f"{REPORT}/{BEST}"), "winner": winner.paths["run"]},
        tracking_uri=job.tracking_uri,
        trials=dict(Counter(each.state for each in outcomes)),
        best=dict(best.point),
        **best.figures,
        winner={"run": winner.run, "run_id": winner.run_id, "model_version": winner.model_version},
        figures=winner.figures,
    )
    prepared.run.finish(result)
    log.info("trials, plots and the best configuration: %s", prepared.run.uri(REPORT))
    return result
