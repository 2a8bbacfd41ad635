"""Comparison of models on the same videos, from their predictions tables alone; no Ray, no features."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import check_comparable, compare_measured, measure
from anomalyclip.evaluation.comparison_plots import save_comparison_plots
from anomalyclip.evaluation.comparison_report import LETTERS, SideBySide, flat_values, markdown, values
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.job import Job
from anomalyclip.jobs.lifecycle import finished, tracked
from anomalyclip.runs import REPORT, RunFolder, RunKind, RunResult, find_run
from anomalyclip.storage import scratch
from anomalyclip.tracking.resolve import resolve

log = logging.getLogger("anomalyclip")

TABLE = "comparison.md"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A checked comparison."""

    names: Sequence[str]
    """As the models were asked for, the reference first."""
    tables: Sequence[Predictions]
    run: RunFolder


@dataclass(frozen=True, kw_only=True)
class ComparisonResult(RunResult):
    """Result of a comparison."""

    models: Sequence[Mapping[str, Any]]
    """Letter, name and figures of each."""
    differences: Sequence[Mapping[str, Any]]
    """Of each of the others minus the first."""


def prepare(job: Job, names: Sequence[str]) -> Prepared:
    """Find the predictions of all models, and check that they compare.

    Raises UsageError if a model has no predictions, or two differ in videos or annotations.
    """
    if not 2 <= len(names) <= len(LETTERS):
        raise UsageError(f"give 2 to {len(LETTERS)} models: each is compared with the first")
    paths = [resolve(name, job.storage, job.tracking_uri).predictions() for name in names]
    tables = [read_predictions(path) for path in paths]
    for name, table in zip(names[1:], tables[1:], strict=True):
        try:
            check_comparable(tables[0], table)
        except UsageError as error:
            raise UsageError(
                f"{names[0]} and {name} cannot be compared: {error}: run evaluate.py for both on one manifest"
            ) from None
    content = {"models": [[name, _content(path)] for name, path in zip(names, paths, strict=True)]}
    run = find_run(job.storage, RunKind.COMPARISON, job.name, f"{len(names)}-models", content, job.fresh)
    return Prepared(names, tables, run)


def run(job: Job, prepared: Prepared) -> ComparisonResult:
    """Compare all models with the first; write table and plots, in MLflow and in the storage root."""
    folder = prepared.run
    if (result := finished(job, folder, ComparisonResult)) is not None:
        log.info("\n\n%s", job.storage.read(folder.part(f"{REPORT}/{TABLE}")).decode())
        return result
    models = compare_with_first(prepared)
    # runs of an experiment compare by the same parameters and metrics, and a comparison has others
    experiment = f"{job.config.tracking.experiment}-comparisons"
    with tracked(job, folder, experiment, on_ray=False) as tracking, TemporaryDirectory(dir=scratch()) as temporary:
        text = _save_report(models, Path(temporary))
        tracking.log_tags({f"model_{letter}": name for letter, name in zip(LETTERS, models.names, strict=False)})
        tracking.log_note(text)
        tracking.log_metrics(flat_values(models))
        tracking.log_artifacts(Path(temporary), "comparison")
        folder.publish(Path(temporary), REPORT)
    result = ComparisonResult(
        run=folder.name,
        run_id=tracking.run_id,
        paths=folder.published(REPORT),
        tracking_uri=job.tracking_uri,
        **values(models),
    )
    folder.finish(result)
    log.info("\n\n%s", text)
    log.info("table and plots: %s", folder.uri(REPORT))
    return result


def compare_with_first(prepared: Prepared) -> SideBySide:
    """Return the figures of all models, and how each differs from the first."""
    measured = [measure(table) for table in prepared.tables]
    return SideBySide(prepared.names, measured, [compare_measured(other, measured[0]) for other in measured[1:]])


def _save_report(models: SideBySide, folder: Path) -> str:
    """Write table and plots into a folder, and return the table."""
    text = markdown(models)
    (folder / TABLE).write_text(text)
    save_comparison_plots(models, folder)
    return text


def _content(table: Path) -> str:
    with table.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
