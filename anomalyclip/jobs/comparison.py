"""The stages of `workflows/compare.py`: predictions found and held against each other; no Ray, no features."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalyclip.cli import Job
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import check_comparable, compare_measured, measure
from anomalyclip.evaluation.comparison_plots import save_comparison_plots
from anomalyclip.evaluation.comparison_report import LETTERS, SideBySide, flat_values, markdown, values
from anomalyclip.evaluation.predictions import Predictions, read_predictions
from anomalyclip.runs import RunFolder, open_run
from anomalyclip.storage import scratch
from anomalyclip.tracking.predictions import find_predictions
from anomalyclip.tracking.runs import reach, tracked_run

log = logging.getLogger("anomalyclip")

TABLE = "comparison.md"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A comparison that was found to be in order."""

    names: Sequence[str]
    """As the models were asked for, the reference first."""
    tables: Sequence[Predictions]
    run: RunFolder


def prepare(job: Job, names: Sequence[str]) -> Prepared:
    """Find the predictions of all models, check that they compare, and open the comparison's folder.

    Raises UsageError where a model has no predictions, or two differ in videos or annotations.
    """
    if not 2 <= len(names) <= len(LETTERS):
        raise UsageError(f"give two models at least, {len(LETTERS)} at most: each is compared with the first")
    paths = [find_predictions(name, job) for name in names]
    tables = [read_predictions(path) for path in paths]
    for name, table in zip(names[1:], tables[1:], strict=True):
        try:
            check_comparable(tables[0], table)
        except UsageError as error:
            raise UsageError(f"{names[0]} and {name} cannot be compared: {error}") from None
    content = {"models": [[name, _content(path)] for name, path in zip(names, paths, strict=True)]}
    run = open_run(job.storage, "comparisons", job.name, f"{len(names)}-models", content, job.fresh)
    return Prepared(names, tables, run)


def finished(job: Job, prepared: Prepared) -> dict[str, Any] | None:
    """Return what an earlier comparison of the same came to, having said it again; None where there is none."""
    result = prepared.run.result()
    if result is not None:
        log.info("\n\n%s", job.storage.read(f"{prepared.run.key}/report/{TABLE}").decode())
        log.info("comparison %s is finished; --fresh starts it anew", prepared.run.name)
    return result


def hold_against_each_other(prepared: Prepared) -> SideBySide:
    """Return the figures of all models and how each differs from the first."""
    measured = [measure(table) for table in prepared.tables]
    return SideBySide(prepared.names, measured, [compare_measured(other, measured[0]) for other in measured[1:]])


def report(job: Job, prepared: Prepared, models: SideBySide) -> dict[str, Any]:
    """Write table and plots, as artifacts of an MLflow run and in the storage root; keep and return the result."""
    run, key = prepared.run, f"{prepared.run.key}/report"
    reach(job.tracking_uri)
    # runs of an experiment compare by the same parameters and metrics, and a comparison has others
    experiment = f"{job.config.tracking.experiment}-comparisons"
    begun = run.mlflow_run(job.tracking_uri)
    with (
        tracked_run(job.tracking_uri, job.storage, experiment, run.name, begun) as tracking,
        TemporaryDirectory(dir=scratch()) as folder,
    ):
        run.keep_mlflow_run(job.tracking_uri, tracking.run_id)
        text = markdown(models)
        (Path(folder) / TABLE).write_text(text)
        save_comparison_plots(models, Path(folder))
        tracking.log_tags({f"model_{letter}": name for letter, name in zip(LETTERS, models.names, strict=False)})
        tracking.log_metrics(flat_values(models))
        tracking.log_artifacts(Path(folder), "comparison")
        job.storage.publish_folder(Path(folder), key)
    result = {
        "run": run.name,
        "run_id": tracking.run_id,
        **values(models),
        "paths": {"run": job.storage.uri(run.key), "report": job.storage.uri(key)},
        "tracking_uri": job.tracking_uri,
    }
    run.finish(result)
    log.info("\n\n%s", text)
    log.info("table and plots: %s", job.storage.uri(key))
    return result


def _content(table: Path) -> str:
    with table.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
