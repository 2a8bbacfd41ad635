"""Ablation and comparison: the rows of the paper's tables, each trained with several seeds, side by side."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

import polars as pl

from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import mean_differences
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.job import Job
from anomalyclip.jobs import training
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.lifecycle import stage, tracked
from anomalyclip.jobs.training import Training
from anomalyclip.runs import EVALUATION, PREDICTIONS, TRIALS, RunKind, RunResult
from anomalyclip.runs import TABLES as TABLES_FOLDER
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.tuning.ablation_tables import (
    COMPARED,
    DEFAULT,
    SEED,
    TABLES,
    RowFigures,
    distinct_rows,
    labels,
    paper_table,
)
from anomalyclip.tuning.comparison_table import ComparisonTable, floor_of
from anomalyclip.tuning.scoring import ScoreTestVideos
from anomalyclip.tuning.space import Point
from anomalyclip.tuning.trial_runs import TrialRuns, run_remaining
from anomalyclip.tuning.trials import Outcome, Study

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True, kw_only=True)
class AblationResult(RunResult):
    """Result of an ablation or a comparison."""

    seeds: Sequence[int]
    rows: Mapping[str, Mapping[str, Sequence[float | None]]]
    """AUC and mAUC of each row, one per seed (one in all without training)."""


class Report(Protocol):
    """Which rows are trained, and the tables that are written of them."""

    @property
    def full(self) -> str:
        """Name of the row that the others are compared with."""

    @property
    def settings(self) -> Sequence[str]:
        """Settings of the model that rows change."""

    @property
    def content(self) -> Mapping[str, Any]:
        """What distinguishes its runs from those of other reports."""

    @property
    def floors(self) -> bool:
        """Whether the tables show the mAUC of the score alone."""

    def points(self, job: Job, prepared: Training, seeds: int) -> dict[str, list[Point]]:
        """Return the points of every row that is trained, by its name: one per seed."""

    def untrained(
        self, tracking: TrackedRun, job: Job, prepared: Training, extracted: Extracted, full: Sequence[Predictions]
    ) -> dict[str, RowFigures]:
        """Return the rows that need no training, compared with the predictions of the full method."""

    def texts(
        self, job: Job, prepared: Training, results: Mapping[str, RowFigures], seeds: Sequence[int]
    ) -> dict[str, str]:
        """Return the tables in Markdown, by the names of their files."""


class PaperTables:
    """The paper's Tables 3, 4 and 5."""

    full = DEFAULT
    content: ClassVar[Mapping[str, Any]] = {}
    floors = False

    @property
    def settings(self) -> Sequence[str]:
        """Settings of the model that rows change."""
        return list({setting: None for row in distinct_rows(TABLES).values() for setting in row.change})

    def points(self, job: Job, prepared: Training, seeds: int) -> dict[str, list[Point]]:
        """Return the points of every row, by its name: one per seed."""
        base = job.config.training.seed
        return {
            name: [row.point(seed) for seed in range(base, base + seeds)] for name, row in distinct_rows(TABLES).items()
        }

    def untrained(
        self, tracking: TrackedRun, job: Job, prepared: Training, extracted: Extracted, full: Sequence[Predictions]
    ) -> dict[str, RowFigures]:
        """Return nothing: all rows are trained."""
        return {}

    def texts(
        self, job: Job, prepared: Training, results: Mapping[str, RowFigures], seeds: Sequence[int]
    ) -> dict[str, str]:
        """Return one Markdown table for each of the paper's."""
        return {f"table-{table.number}": paper_table(table, results, seeds) for table in TABLES}


REPORTS: Mapping[str, Report] = {"ablation": PaperTables(), "comparison": ComparisonTable()}
"""By the value of `--table`."""


def prepare(job: Job, manifest_path: Path | None, seeds: int, report: Report) -> Training:
    """Check everything that can be wrong before work starts, and find the run; raises UsageError."""
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: every row is trained at least once")
    for setting in report.settings:
        if getattr(job.config.model, setting) != ModelConfig.model_fields[setting].default:
            raise UsageError(
                f"model.{setting} is what rows of the tables change: leave it as --preset benchmark has it"
            )
    return training.prepare(job, manifest_path, kind=RunKind.ABLATION, needs_test=True, more=report.content)


def run(job: Job, prepared: Training, seeds: int, report: Report) -> AblationResult:
    """Train every row with so many seeds, and write the tables; more seeds than before train only what is missing."""
    result = None if job.fresh else prepared.run.result(AblationResult)
    if result is not None and len(result.seeds) == seeds:
        log.info("ablation %s is finished; --fresh starts it again", prepared.run.name)
        return result
    with tracked(job, prepared.run, extends=result is not None) as tracking:
        training.describe(tracking, job, prepared)
        extracted = training.obtain(job, prepared)
        prepared = training.replan(tracking, job, prepared, extracted)
        trials, rows = study(job, prepared, extracted), report.points(job, prepared, seeds)
        with stage("train", f"{len(rows)} rows with {seeds} seeds each, as many at a time as CPUs"):
            outcomes = run_trials(tracking, prepared, trials, rows)
        return tabulate(tracking, job, prepared, extracted, trials, rows, outcomes, report)


def study(job: Job, prepared: Training, extracted: Extracted) -> Study:
    """Return what the trials share: each is what `train.py` does with the settings of a row and a seed."""
    test = extracted.manifest.filter(pl.col("split") == "test")
    return Study(
        base=training.fit_plan(job, prepared, extracted),
        manifest=extracted.manifest,
        content={
            "manifest": prepared.source.digest,
            "backbone": prepared.backbone_identity,
            "features": extracted.digest(),
        },
        folder=prepared.run.part(TRIALS),
        scoring=ScoreTestVideos(test, prepared.source.digest, extracted.precision),
        labels=labels,
        threads=1,  # two trainings of one thread each are faster than one after the other on two
    )


def run_trials(
    tracking: TrackedRun, prepared: Training, ablation: Study, rows: Mapping[str, Sequence[Point]]
) -> list[Outcome]:
    """Train and score the trials that are not finished, each as a run nested in the ablation's.

    Raises JobError that names the first failed trial; the others are finished then.
    """
    # one seed after the other, so that whole tables come early; and the slowest rows, which stand last, first
    in_turn = [point for of_seed in zip(*rows.values(), strict=True) for point in reversed(of_seed)]
    runs = TrialRuns(tracking, prepared.run, ablation, lambda finished: ())
    run_remaining(ablation, runs, in_turn)
    outcomes = runs.outcomes()
    if any(each.state == "failed" for each in outcomes):
        runs.raise_failures()
    return outcomes


def tabulate(
    tracking: TrackedRun,
    job: Job,
    prepared: Training,
    extracted: Extracted,
    ablation: Study,
    rows: Mapping[str, Sequence[Point]],
    outcomes: Sequence[Outcome],
    report: Report,
) -> AblationResult:
    """Write the tables, and keep and return the run's result."""
    of_rows = {
        name: [each for point in of_row for each in outcomes if each.point == point] for name, of_row in rows.items()
    }
    full = _predictions(job.storage, ablation, of_rows[report.full])
    results = {}
    for name, of_row in of_rows.items():
        predictions = full if name == report.full else _predictions(job.storage, ablation, of_row)
        results[name] = RowFigures(
            auc=[each.figures.get("auc") for each in of_row],
            m_auc=[each.figures.get("m_auc") for each in of_row],
            difference=None if name == report.full else mean_differences(COMPARED, predictions, full),
            floor=[floor_of(each) for each in predictions] if report.floors else (),
        )
    results |= report.untrained(tracking, job, prepared, extracted, full)
    seeds = [point[SEED] for point in rows[report.full]]
    with TemporaryDirectory(dir=scratch()) as folder:
        texts = report.texts(job, prepared, results, seeds)
        for name, text in texts.items():
            (Path(folder) / f"{name}.md").write_text(text)
            log.info("\n\n%s", text)
        tracking.log_note("\n\n".join(texts.values()))
        tracking.log_artifacts(Path(folder), TABLES_FOLDER)
        prepared.run.publish(Path(folder), TABLES_FOLDER)
    result = AblationResult(
        run=prepared.run.name,
        run_id=tracking.run_id,
        paths=prepared.run.published(TABLES_FOLDER),
        tracking_uri=job.tracking_uri,
        seeds=seeds,
        rows={name: {"auc": figures.auc, "m_auc": figures.m_auc} for name, figures in results.items()},
    )
    prepared.run.finish(result)
    log.info("tables: %s", prepared.run.uri(TABLES_FOLDER))
    return result


def _predictions(storage: Storage, ablation: Study, of_row: Sequence[Outcome]) -> list[Predictions]:
    keys = [f"{ablation.folder}/{each.key}/{EVALUATION}/{PREDICTIONS}" for each in of_row]
    with ExitStack() as stack:
        return [read_predictions(stack.enter_context(storage.local(key))) for key in keys]
