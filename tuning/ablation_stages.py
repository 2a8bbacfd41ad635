"""The stages of `workflows/ablate.py`: the rows of the paper's ablation tables, each trained with several seeds."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from anomalyclip.config import ModelConfig
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.comparison import mean_differences
from anomalyclip.job import Job
from anomalyclip.jobs import training
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.training import Training
from anomalyclip.runs import TABLES as TABLES_FOLDER
from anomalyclip.runs import TRIALS, RunKind, RunResult, open_run, result_settings
from anomalyclip.storage import scratch
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.plan import plan_training
from anomalyclip.tuning.ablation_tables import DEFAULT, TABLES, Outcome, Row, distinct_rows, markdown
from anomalyclip.tuning.side_by_side import Experiment, run_side_by_side
from anomalyclip.tuning.trials import ScoredTrial, Trial, TrialRuns

log = logging.getLogger("anomalyclip")

Trials = Mapping[str, Sequence[Trial]]
"""The trials of each row, by its name: one per seed."""


@dataclass(frozen=True, kw_only=True)
class AblationResult(RunResult):
    """What an ablation returns."""

    seeds: Sequence[int]
    rows: Mapping[str, Mapping[str, Sequence[float | None]]]
    """AUC and mAUC of each row, one per seed."""


def prepare(job: Job, manifest_path: Path | None, seeds: int) -> Training:
    """Check everything that can be wrong before work starts, and open the ablation's folder; raises UsageError."""
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: a row is trained once at least")
    for setting in {setting: None for row in distinct_rows(TABLES).values() for setting in row.change}:
        if getattr(job.config.model, setting) != ModelConfig.model_fields[setting].default:
            raise UsageError(f"model.{setting} is what rows of the tables change: leave it at its default")
    return training.prepare(job, manifest_path, kind=RunKind.ABLATION, needs_test=True)


def finished(job: Job, prepared: Training, seeds: int) -> AblationResult | None:
    """Return what an ablation with so many seeds came to, None while some of it is to do."""
    result = None if job.fresh else prepared.run.result(AblationResult)
    return result if result and len(result.seeds) == seeds else None


def plan(job: Job, prepared: Training, extracted: Extracted, seeds: int) -> Trials:
    """Return the trials of every row, each what `train.py` would do with its settings and its seed.

    A trial's folder is named by what decides its result, so that one finished before is found again.
    """
    base = job.config.training.seed
    return {
        name: [_trial(job, prepared, extracted, row, seed) for seed in range(base, base + seeds)]
        for name, row in distinct_rows(TABLES).items()
    }


def train(tracking: TrackedRun, job: Job, prepared: Training, extracted: Extracted, trials: Trials) -> None:
    """Train and score what is not finished yet, several at a time, each as a run nested in the ablation's.

    Raises JobError that says which trials failed; the others are finished then.
    """
    # a seed after the other, so that whole tables come early, and the slowest rows, which stand last, first
    in_turn = [trial for of_seed in zip(*trials.values(), strict=True) for trial in reversed(of_seed)]
    left = {trial.name: trial for trial in in_turn if not trial.run.is_finished()}
    log.info("%d of %d trainings are to do", len(left), len(in_turn))
    test = extracted.manifest.filter(pl.col("split") == "test")
    experiments = {
        name: Experiment(trial.plan, extracted.precision, prepared.source.digest, test) for name, trial in left.items()
    }
    runs = TrialRuns(tracking, job.tracking_uri, left)
    try:
        run_side_by_side(experiments, runs)
    finally:
        runs.kill()
    if runs.failures:
        name, reason = next(iter(runs.failures.items()))
        raise JobError(f"{len(runs.failures)} of {len(in_turn)} trainings failed; the first, {name}: {reason}")


def tabulate(tracking: TrackedRun, job: Job, prepared: Training, trials: Trials) -> AblationResult:
    """Write a Markdown table for each of the paper's, and keep and return the ablation's result."""
    seeds = [trial.plan.config.training.seed for trial in trials[DEFAULT]]
    outcomes = {name: _outcome(of_row, trials[DEFAULT]) for name, of_row in trials.items()}
    tables = TABLES_FOLDER
    with TemporaryDirectory(dir=scratch()) as folder:
        texts = {table.number: markdown(table, outcomes, seeds) for table in TABLES}
        for number, text in texts.items():
            (Path(folder) / f"table-{number}.md").write_text(text)
            log.info("\n\n%s", text)
        tracking.log_note("\n\n".join(texts.values()))
        tracking.log_artifacts(Path(folder), tables)
        prepared.run.publish(Path(folder), tables)
    result = AblationResult(
        run=prepared.run.name,
        run_id=tracking.run_id,
        paths=prepared.run.published(tables),
        tracking_uri=job.tracking_uri,
        seeds=seeds,
        rows={name: {"auc": outcome.auc, "m_auc": outcome.m_auc} for name, outcome in outcomes.items()},
    )
    prepared.run.finish(result)
    log.info("tables: %s", prepared.run.uri(tables))
    return result


def _trial(job: Job, prepared: Training, extracted: Extracted, row: Row, seed: int) -> Trial:
    model = job.config.model.model_copy(update=dict(row.change))
    seeded = job.config.training.model_copy(update={"seed": seed})
    own = replace(job, config=job.config.model_copy(update={"model": model, "training": seeded}))
    plan = plan_training(extracted.manifest, own.config)
    content = {
        "manifest": prepared.source.digest,
        "backbone": prepared.backbone_identity,
        "features": extracted.digest(),
        **result_settings(plan.config),
    }
    name = f"{row.name}-{seed}"
    run = open_run(job.storage, prepared.run.part(TRIALS), None, name, content)
    planned = replace(prepared, plan=plan, run=run)
    return Trial(name, {"row": row.name, "seed": str(seed)}, run, training.fit_plan(own, planned, extracted))


def _outcome(of_row: Sequence[Trial], of_default: Sequence[Trial]) -> Outcome:
    results = [result.figures if (result := trial.run.result(ScoredTrial)) else {} for trial in of_row]
    difference = None
    if of_row is not of_default:
        tables = ([trial.predictions() for trial in of] for of in (of_row, of_default))
        difference = mean_differences(("auc", "m_auc"), *tables)
    return Outcome([each.get("auc") for each in results], [each.get("m_auc") for each in results], difference)
