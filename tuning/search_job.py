"""Search: trials over a space, judged on the validation part, and the winner's model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs import training
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.lifecycle import finished, stage, tracked
from anomalyclip.jobs.training import Training, TrainingResult
from anomalyclip.runs import CONTENT, REPORT, RunKind, RunResult
from anomalyclip.settings import to_yaml, with_settings
from anomalyclip.storage import scratch
from anomalyclip.tracking.promotion import ModelRegistry
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tracking.server import reach
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.tuning.scoring import score_validation, validation_scores
from anomalyclip.tuning.search_report import best_of, save_search_report
from anomalyclip.tuning.separation import Separation, separate
from anomalyclip.tuning.space import Space, with_point
from anomalyclip.tuning.trial_runs import TrialRuns, run_remaining
from anomalyclip.tuning.trials import Outcome, Study

log = logging.getLogger("anomalyclip")

BEST = "best.yaml"
WINNER = "-best"
"""After a search's name: the run that trains its winner on all training videos."""


@dataclass(frozen=True, kw_only=True)
class SearchResult(RunResult):
    """Result of a search."""

    trials: Mapping[str, int]
    """Number of trials by state."""
    best: Mapping[str, Any]
    """The winner's values."""
    best_epoch: float
    best_video_auc: float
    best_loss: float
    separation: Mapping[str, Any]
    """Separation of the winner from the other trials on the validation part."""
    winner: Mapping[str, str]
    """Name and id of its run, and the version of its model."""
    figures: Mapping[str, float | None]
    """Of the winner, on the test videos."""


def with_search_settings(job: Job, workers: int | None) -> Job:
    """Return the job with what every search has: a validation part, and a final fit for the winner alone.

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
    """Check everything that can be wrong before work starts, and find the search's run; raises UsageError.

    `resume` refuses a search that was never started.
    """
    if resume and job.fresh:
        raise UsageError("--resume continues what is there, --fresh removes it: give one of them")
    space.check(job.config)
    _refuse_foreign_winner(job)
    prepared = training.prepare(job, manifest_path, RunKind.SEARCH, more=space.content())
    if resume and not job.storage.exists(prepared.run.part(CONTENT)):
        raise UsageError(f"there is nothing to resume: {prepared.run.uri()} was never started")
    return prepared


def run(job: Job, prepared: Training, manifest_path: Path | None, space: Space) -> SearchResult:
    """Try the space, train the best trial on all training videos, and make it the candidate."""
    if (result := finished(job, prepared.run, SearchResult)) is not None:
        return result
    with tracked(job, prepared.run) as tracking:
        if job.fresh:
            job.storage.delete(f"{RunKind.TRAINING}/{prepared.run.name}{WINNER}")
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.replan(tracking, job, prepared, extracted)
        trials = study(job, prepared, extracted)
        with stage("search", "trials judged on the validation part"):
            outcomes = run_trials(tracking, prepared, trials, space)
            best, apart = report(tracking, job, prepared, space, outcomes)
    winner = train_winner(job, manifest_path, prepared, trials, best)
    return finish(job, prepared, tracking.run_id, outcomes, best, apart, winner)


def study(job: Job, prepared: Training, extracted: Extracted) -> Study:
    """Return what the search's trials share; each trial's fit is the first of the winner's two."""
    base = training.fit_plan(job, prepared, extracted)
    config = with_settings(base.config, [("search", "training.final_fit", False)])
    return Study(
        base=replace(base, config=config),
        manifest=extracted.manifest,
        content={
            "manifest": prepared.source.digest,
            "backbone": prepared.backbone_identity,
            "features": extracted.digest(),
        },
        folder=RunKind.TRIAL,
        scoring=score_validation,
    )


def run_trials(tracking: TrackedRun, prepared: Training, search: Study, space: Space) -> list[Outcome]:
    """Run the trials that have not ended, each as a run nested in the search's; returns how all ended.

    Raises JobError if no trial is finished; the same command tries again then.
    """
    runs = TrialRuns(tracking, prepared.run, search, lambda outcomes: [best_of(outcomes, space).key])
    if space.trials is None:
        run_remaining(search, runs, space.points())
    else:
        run_remaining(search, runs, runs.points(), space)
    outcomes = runs.outcomes()
    if not any(each.state == "finished" for each in outcomes):
        runs.raise_failures(", and none was finished")
    return outcomes


def report(
    tracking: TrackedRun, job: Job, prepared: Training, space: Space, outcomes: Sequence[Outcome]
) -> tuple[Outcome, Separation]:
    """Keep the table of trials, one plot per parameter and the best configuration.

    Returns the best trial, and how far the validation part separates it from the others.
    """
    best = best_of(outcomes, space)
    apart = _separation(job, prepared.plan.config, space, outcomes, best)
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        log.info("\n\n%s", text := save_search_report(outcomes, best, space, apart, folder))
        tracking.log_note(text)
        (folder / BEST).write_text(to_yaml(with_point(prepared.plan.config, best.point)))
        tracking.log_artifacts(folder, REPORT)
        prepared.run.publish(folder, REPORT)
    tracking.log_metrics({**best.figures, **apart.metrics()})
    states = Counter(each.state for each in outcomes)
    counts = {f"trials_{state.replace(' ', '_')}": n for state, n in states.items()}
    tracking.log_tags({"best": best.name, **counts, **apart.tags()})
    return best, apart


def train_winner(
    job: Job, manifest_path: Path | None, prepared: Training, search: Study, best: Outcome
) -> TrainingResult:
    """Train the winner on all training videos, read its test figures, and make it the candidate; returns the result.

    Its run is the one that `train.py --config best.yaml` makes; the fit that chose its epoch is the trial's own.
    """
    config = with_point(prepared.plan.config, best.point)
    own = replace(job, config=config, name=f"{prepared.run.name}{WINNER}", fresh=False)
    winner = training.prepare(own, manifest_path)
    trial, checkpoints = search.trial(best.point).plan.checkpoints(), CheckpointStore(job.storage, winner.run.key)
    if not winner.run.is_finished() and not checkpoints.epochs():
        for epoch in trial.epochs():
            checkpoints.save(trial.load(epoch), keep=trial.epochs())
    result = training.run(own, winner)
    registry = ModelRegistry(reach(job.tracking_uri), job.config.tracking.model_name)
    registry.set_candidate(result.model_version)
    log.info("models:/%s/%s is the candidate", registry.name, result.model_version)
    return result


def finish(
    job: Job,
    prepared: Training,
    run_id: str,
    outcomes: Sequence[Outcome],
    best: Outcome,
    apart: Separation,
    winner: TrainingResult,
) -> SearchResult:
    """Log the winner's test figures beside the search, and keep and return the search's result."""
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
        separation=apart.values(),
        winner={"run": winner.run, "run_id": winner.run_id, "model_version": winner.model_version},
        figures=winner.figures,
    )
    run.finish(result)
    log.info("trials, plots and the best configuration: %s", run.uri(REPORT))
    return result


def _separation(job: Job, base: RunConfig, space: Space, outcomes: Sequence[Outcome], best: Outcome) -> Separation:
    whole = [each for each in outcomes if each.state == "finished"]
    others = [each for each in whole if each is not best]
    return separate(
        {each.key: validation_scores(f"{RunKind.TRIAL}/{each.key}", job.storage) for each in whole},
        best=best.key,
        following=best_of(others, space).key if others else None,
        default=next((each.key for each in whole if with_point(base, each.point) == base), None),
    )


def _refuse_foreign_winner(job: Job) -> None:
    """Raise UsageError if the run that will train the winner exists, and belongs to no search of this name."""
    winner = f"{RunKind.TRAINING}/{job.name}{WINNER}"
    started = job.storage.exists(f"{RunKind.SEARCH}/{job.name}")
    if job.name and not job.fresh and job.storage.exists(winner) and not started:
        raise UsageError(f"the winner's run {job.name}{WINNER} exists already: choose another --name, or --fresh")
