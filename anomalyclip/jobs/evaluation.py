"""Evaluation of a trained model or of zero-shot CLIP on the test part of a manifest; training ends with it too."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import polars as pl

from anomalyclip.data.labels import unknown_test_classes
from anomalyclip.device import resolve_device
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.comparison import Measured
from anomalyclip.evaluation.metrics import summary_values
from anomalyclip.evaluation.report import PLOTS, log_summary, write_report
from anomalyclip.evaluation.scoring import Scorer, bundle_scorer, score_manifest, score_tracks
from anomalyclip.evaluation.standing import chance_warning
from anomalyclip.events.alarms import count_alarms, load_alarms, save_alarms
from anomalyclip.job import Job
from anomalyclip.jobs.alarms import held_out_normal, normal_videos
from anomalyclip.jobs.baseline_models import Maker
from anomalyclip.jobs.baselines import kept_makers, log_standing, make_and_compare
from anomalyclip.jobs.candidates import Candidate, trained_candidate, zero_shot_for
from anomalyclip.jobs.evaluation_report import write_test_report
from anomalyclip.jobs.features import Extracted, imported_store, obtain_features, warn_of_unknown
from anomalyclip.jobs.lifecycle import finished, stage, tracked, where_runs_are
from anomalyclip.jobs.new_classes import new_names, report_new
from anomalyclip.jobs.operating import refuse_other_events
from anomalyclip.jobs.sources import Source, load_source
from anomalyclip.methods import METHODS, NewNames
from anomalyclip.model.bundle import load_card
from anomalyclip.runs import ALARMS, EVALUATION, MODEL, PREDICTIONS, RunFolder, RunKind, RunResult, find_run
from anomalyclip.storage import below, scratch
from anomalyclip.tracking.pages import run_note
from anomalyclip.tracking.registry import tag_new_classes
from anomalyclip.tracking.resolve import ZERO_SHOT, resolve
from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Evaluation:
    """A checked evaluation job."""

    source: Source
    candidate: Candidate
    run: RunFolder
    makers: Mapping[str, Maker] = field(default_factory=dict)
    """The baselines to compare it with, by name."""
    normal: pl.DataFrame | None = None
    """Normal videos to count false alarms on, for a model that has no table of them."""
    new: NewNames | None = None
    """Classes that nobody trained, asked for by their names."""


@dataclass(frozen=True, kw_only=True)
class ScoredResult(RunResult):
    """Result of a command that scores test videos."""

    figures: Mapping[str, float | None]
    """The summary's figures by name; None if one is undefined."""
    quarantined: int
    """Videos that could not be decoded."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(ScoredResult):
    """Result of an evaluation."""

    model: str


AnyScored = TypeVar("AnyScored", bound=ScoredResult)


def prepare(job: Job, model: str, manifest: Path | None, names: Sequence[str] = ()) -> Evaluation:
    """Find the model, check the manifest, and find the evaluation's run; raises UsageError.

    `model` is `zero-shot`, or what `resolve` takes; `names` are those of classes that nobody trained.
    """
    # a wrong name is answered before the manifest's videos are looked at, or the benchmark's drawn
    trained = None if model == ZERO_SHOT else trained_candidate(job, model)
    new = new_names(job, trained, names) if trained else None
    source = load_source(job, manifest)
    if trained is None:
        return prepare_candidate(job, source, zero_shot_for(job, source.table))
    assert isinstance(trained.scorer, Path)
    refuse_other_events(model, trained.scorer, job.config.events)
    makers = kept_makers(job, resolve(model, job.storage, job.tracking_uri), load_card(trained.scorer))
    normal = None if load_alarms(trained.scorer) else held_out_normal(job, source.table)
    if new is not None:
        trained = replace(trained, content={**trained.content, "new_classes": list(new.names)})
    return replace(prepare_candidate(job, source, trained), makers=makers, normal=normal, new=new)


def prepare_candidate(job: Job, source: Source, candidate: Candidate) -> Evaluation:
    """Check that a candidate can be evaluated on the test part, and find the evaluation's run; raises UsageError."""
    test = source.test_part("evaluate on")
    if candidate.imported:
        imported_store(job, test, candidate.imported)
    warn_of_unknown(unknown_test_classes(test, candidate.classes))
    content = {
        **candidate.content,
        "manifest": source.digest,
        "precision": job.config.extraction.precision,
        "frame_tolerance": job.config.data.frame_tolerance,
        "fps": job.config.data.fps,
    }
    kind = candidate.tags["model_kind"]
    prefix = source.dataset if kind in METHODS else f"{source.dataset}-{kind}"
    run = find_run(job.storage, RunKind.EVALUATION, job.name, prefix, content, job.fresh)
    return Evaluation(source, candidate, run)


def run(job: Job, evaluation: Evaluation) -> EvaluationResult:
    """Score the test videos, and keep predictions, figures and plots."""
    if (result := finished(job, evaluation.run, EvaluationResult)) is not None:
        return result
    source, candidate, folder = evaluation.source, evaluation.candidate, evaluation.run
    model = candidate.tags["model"]
    with tracked(job, folder) as tracking:
        _describe(tracking, evaluation)
        videos = source.test_part("evaluate on")
        if evaluation.normal is not None:
            videos = pl.concat([videos, evaluation.normal])
        extracted = obtain_features(job, candidate.extraction, videos, candidate.backbone, candidate.imported)
        folder.keep_needs(extracted.needs(source.path, candidate.backbone_identity))
        with stage("evaluate", f"{model} on the test videos"):
            scorer = candidate.scorer
            if evaluation.normal is not None and isinstance(scorer, Path):
                scorer = _with_alarms(job, model, scorer, extracted, evaluation.new)
            measured = evaluate(tracking, folder, source, extracted, scorer, candidate.model_id, evaluation.new)
        if evaluation.new is not None and measured:
            tag_new_classes(tracking, model)
        if evaluation.makers and measured:
            with stage("baselines", "those of the model on the same videos"):
                log_standing(make_and_compare(tracking, folder, source, extracted, measured, evaluation.makers))
        elif measured and (line := chance_warning(measured.metrics)):
            log.warning("%s", line)
        tracking.log_note(run_note(tracking.read(), folder.uri()))
        return finish(folder, EvaluationResult(**scored(tracking, job, folder, measured, extracted), model=model))


def evaluate(
    tracking: TrackedRun,
    run: RunFolder,
    source: Source,
    extracted: Extracted,
    scorer: Path | Scorer,
    model_id: str | None,
    new: NewNames | None = None,
) -> Measured | None:
    """Score the test part; log figures, plots and predictions, and publish them in the run's folder.

    `scorer` may be the folder of a trained model, which then recognises `new` classes too. Returns None if no test
    video has features.
    """
    test = extracted.manifest.filter(pl.col("split") == "test")
    if test.is_empty():
        log.warning("there are no test videos with features: no figures")
        return None
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        note = _vouching(scorer) if isinstance(scorer, Path) else ""
        scorer = bundle_scorer(scorer, resolve_device(), new) if isinstance(scorer, Path) else scorer
        score_manifest(scorer, test, source.digest, extracted.store, folder / PREDICTIONS)
        log.info("scored %d videos, %d frames", test.height, test["num_frames"].sum())
        measured = write_report(folder)
        if scorer.new_classes:
            report_new(tracking, folder, scorer.new_classes, measured.predictions, source.dataset)
        write_test_report(folder, run.name, note, measured.predictions, test)
        dataset = tracking.log_dataset(source.path, source.dataset, source.digest, "evaluation")
        tracking.log_metrics(measured.metrics.flat(), model_id, dataset)
        tracking.log_artifacts(folder, EVALUATION)
        run.publish(folder, EVALUATION)
    log_summary(measured.metrics)
    return measured


def _vouching(bundle: Path) -> str:
    """Return what normal footage says of a model's threshold."""
    alarms = load_alarms(bundle)
    return alarms.own_choice().sentence() if alarms else ""


def scored(
    tracking: TrackedRun, job: Job, run: RunFolder, measured: Measured | None, extracted: Extracted
) -> dict[str, Any]:
    """Return the fields of a ScoredResult."""
    return {
        "run": run.name,
        "run_id": tracking.run_id,
        "paths": run.published(MODEL, EVALUATION, *(baseline.folder for baseline in BASELINES.values())),
        "tracking_uri": job.tracking_uri,
        "figures": summary_values(measured.metrics if measured else None),
        "quarantined": len(extracted.quarantined),
    }


def finish(run: RunFolder, result: AnyScored) -> AnyScored:
    """Store a result and log the places of all outputs."""
    run.finish(result)
    if result.quarantined:
        log.warning("%d videos could not be decoded and were left out", result.quarantined)
    log.info("results: %s", result.paths["run"])
    if EVALUATION in result.paths:
        log.info("plots: %s", below(result.paths[EVALUATION], PLOTS))
    log.info("compare runs: %s", where_runs_are(result.tracking_uri))
    return result


def _with_alarms(job: Job, model: str, bundle: Path, extracted: Extracted, new: NewNames | None) -> Scorer:
    """Return a model that had no thresholds with those of the normal videos, and keep their table beside its card."""
    scorer = bundle_scorer(bundle, resolve_device(), new)
    normal = normal_videos(extracted.manifest, "val")
    table = count_alarms(score_tracks(scorer, normal, extracted.store), job.config.events, held_out=False)
    if table is None:
        return scorer
    with TemporaryDirectory(dir=scratch()) as temporary:
        save_alarms(Path(temporary), table)
        resolve(model, job.storage, job.tracking_uri).add(Path(temporary) / ALARMS)
    log.info("%s has a table of false alarms now. %s", model, table.own_choice().sentence())
    log.warning("if the model was trained on these %d normal videos, it has more false alarms elsewhere", table.videos)
    return replace(scorer, operating=table.point())


def _describe(tracking: TrackedRun, evaluation: Evaluation) -> None:
    """Log model and data under the names that trainings use, with the parameters of the training."""
    candidate = evaluation.candidate
    tracking.log_tags(
        {
            **candidate.tags,
            **evaluation.source.tags(),
            "test_videos": evaluation.source.test_part("evaluate on").height,
            "classes": ", ".join(candidate.classes),
            "imported_features": candidate.imported or "none",
        }
    )
    if candidate.model_id is None or not tracking.log_origin(candidate.model_id):
        tracking.log_tags({"protocol": "none"})
        tracking.log_parameters(candidate.parameters)
