"""Baselines of a training: kept with its run, scored on the same test videos, and compared with its model."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.baselines import BASELINES, NO_TEXT_TOWER, Absent, Baseline
from anomalyclip.evaluation.comparison import Measured
from anomalyclip.evaluation.report import write_report
from anomalyclip.evaluation.scoring import Scorer, score_manifest
from anomalyclip.evaluation.standing import Standing, standing
from anomalyclip.job import Job
from anomalyclip.jobs.baseline_models import Maker, kept_scorer
from anomalyclip.jobs.candidates import Candidate, trained_candidate, zero_shot_of
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.sources import Source
from anomalyclip.model.bundle import ModelCard, load_card
from anomalyclip.runs import PREDICTIONS, RunFolder
from anomalyclip.storage import scratch
from anomalyclip.tracking.resolve import Reference, resolve
from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")

NOT_KEPT = Absent(
    "the model has none, as it was registered before there were any or its training could not fit one: train again"
)


def make_and_compare(
    tracking: TrackedRun,
    run: RunFolder,
    source: Source,
    extracted: Extracted,
    model: Measured | None,
    makers: Mapping[str, Maker],
) -> Standing | None:
    """Make the baselines, score the test videos with them, keep all with the run, and compare the model with them.

    `model` are the model's figures; None, and no standing, if there is no test video.
    """
    others = {
        name: score_baseline(tracking, run, source, extracted, BASELINES[name], make) for name, make in makers.items()
    }
    if model is None:
        return None
    found = standing(model, {name: other for name, other in others.items() if other is not None})
    tracking.log_tags(found.tags())
    return found


def log_standing(found: Standing | None) -> None:
    """Log the table of model and baselines, and the same in words, as a warning if the model is doubtful."""
    if found is None:
        return
    log.info("%d test videos, 95 %% intervals:\n\n%s\n", found.model.metrics.videos, found.table())
    log.log(logging.WARNING if found.is_doubtful else logging.INFO, "%s", found.sentence)


def score_baseline(
    tracking: TrackedRun, run: RunFolder, source: Source, extracted: Extracted, baseline: Baseline, make: Maker
) -> Measured | Absent | None:
    """Make a baseline, score the test videos with it, and log and publish both in its folder of the run.

    Returns its figures, why there is none, or None without test videos.
    """
    test, measured = extracted.manifest.filter(pl.col("split") == "test"), None
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        try:
            scorer = make(folder)
        except (UsageError, JobError) as error:
            scorer = Absent(str(error))
        if isinstance(scorer, Absent):
            return scorer
        if not test.is_empty():
            score_manifest(scorer, test, source.digest, extracted.store, folder / PREDICTIONS)
            measured = write_report(folder)
            figures = {name: value for name, value in measured.metrics.flat().items() if "/" not in name}
            tracking.log_metrics({f"{baseline.prefix}{name}": value for name, value in figures.items()})
        if any(folder.iterdir()):
            tracking.log_artifacts(folder, baseline.folder)
            run.publish(folder, baseline.folder)
    return measured


def kept_makers(job: Job, reference: Reference, card: ModelCard) -> dict[str, Maker]:
    """Return the baselines of a trained model, as its training has made them, for other test videos."""
    return {name: partial(_kept, job, baseline, reference, card) for name, baseline in BASELINES.items()}


def kept_candidate(job: Job, baseline: Baseline, model: str) -> Candidate | Absent:
    """Return a baseline of a registered model (`models:/NAME/VERSION`) to evaluate by itself."""
    reference = resolve(model, job.storage, job.tracking_uri)
    card = load_card(reference.bundle()[0])
    if baseline.name == "zero_shot":
        return zero_shot_of(job, card) or NO_TEXT_TOWER
    scorer = _kept(job, baseline, reference, card)
    if isinstance(scorer, Absent):
        return scorer
    own = trained_candidate(job, model)
    return replace(
        own,
        scorer=scorer,
        content={"model": scorer.digest, "features": own.imported},
        tags={**own.tags, "model": baseline.folder, "model_kind": baseline.folder},
        parameters={},
        model_id=None,
    )


def _kept(
    job: Job, baseline: Baseline, reference: Reference, card: ModelCard, into: Path | None = None
) -> Scorer | Absent:
    """Return a baseline of a trained model; nothing needs to be kept `into` a folder again."""
    if baseline.name == "zero_shot":
        candidate = zero_shot_of(job, card)
        return candidate.scorer if candidate and isinstance(candidate.scorer, Scorer) else NO_TEXT_TOWER
    folder = reference.part(baseline.folder)
    return NOT_KEPT if folder is None else kept_scorer(baseline.name, folder, card)
