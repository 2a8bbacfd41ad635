"""Judgement by the gates of a policy: a registered model is loaded, tried, scored and compared with the champion."""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from anomalyclip.data.manifest import annotations_digest
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.baselines import BASELINES, Absent, Baseline
from anomalyclip.evaluation.gates import Gate, judge_figures
from anomalyclip.evaluation.policy import Policy
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.sources import fetch
from anomalyclip.job import Job
from anomalyclip.jobs import evaluation
from anomalyclip.jobs.baselines import kept_candidate
from anomalyclip.jobs.candidates import trained_candidate
from anomalyclip.jobs.lifecycle import stage
from anomalyclip.jobs.sources import Source, load_source
from anomalyclip.model.bundle import ModelCard, bundle_digest, load_card
from anomalyclip.runs import PREDICTIONS, RunKind
from anomalyclip.storage import scratch
from anomalyclip.tracking.resolve import resolve
from anomalyclip.tracking.smoke import smoke_scores


@dataclass(frozen=True)
class Examination:
    """Data that models are judged on: the test videos of the policy's manifest."""

    source: Source
    annotations_digest: str
    videos: pl.DataFrame


def examination(job: Job, policy: Policy) -> Examination:
    """Read the policy's test videos; raises UsageError if files are missing or wrong."""
    video = policy.smoke.video
    if video is not None and not video.is_file():
        raise UsageError(f"smoke.video {video} of the policy does not exist")
    source = load_source(job, policy.evaluation.manifest, policy.evaluation.frame_tolerance)
    test = source.test_part("judge on")
    return Examination(source, annotations_digest(test), test)


def judge(job: Job, policy: Policy, test: Examination, name: str, number: str, champion: str | None) -> list[Gate]:
    """Return the verdicts of all gates; a model that cannot be loaded or scored is not evaluated."""
    model = f"models:/{name}/{number}"
    with stage(
        "gates", f"version {number} compared with {'no champion' if champion is None else f'version {champion}'}"
    ):
        gates = _model_gates(job, model, policy, test)
        sound = all(gate.passed for gate in gates)
        candidate = _predictions(job, model, policy, test, may_evaluate=sound)
        if candidate is None:
            return [*gates, Gate("data", False, "not scored on the policy's manifest, as other gates failed")]
        theirs = None if champion is None else _champion(job, f"models:/{name}/{champion}", policy, test)
        _check_classes(policy, [*candidate.classes, *(theirs.classes if theirs else ())])
        asked = {name: _baseline(job, BASELINES[name], model, policy, test) for name in policy.baselines.margins()}
        return [*gates, *judge_figures(policy, test.videos["video_id"].to_list(), candidate, theirs, asked)]


def _model_gates(job: Job, model: str, policy: Policy, test: Examination) -> list[Gate]:
    try:
        card = load_card(resolve(model, job.storage, job.tracking_uri).bundle()[0])
    except UsageError as error:
        return [Gate("loads", False, str(error))]
    return [_backbone_gate(job, card), _smoke_gate(job, model, card, policy, test)]


def _backbone_gate(job: Job, card: ModelCard) -> Gate:
    if card.backbone_identity is None:
        return Gate("backbone", True, f"none needed: the model understands imported features ({card.features}) only")
    backbone = f"{card.backbone.name} {card.backbone_identity[:12]}"
    try:
        load_stored_backbone(job.storage, card.backbone_identity)
    except UsageError as error:
        return Gate("backbone", False, str(error), {"identity": card.backbone_identity})
    return Gate("backbone", True, f"{backbone} is in {job.storage.root}", {"identity": card.backbone_identity})


def _smoke_gate(job: Job, model: str, card: ModelCard, policy: Policy, test: Examination) -> Gate:
    """Whether MLflow loads the model, and it scores a video as it would when served."""
    with TemporaryDirectory(dir=scratch()) as folder:
        try:
            video = policy.smoke.video or (None if card.features else _shortest(test, Path(folder)))
            frames = smoke_scores(model, job.storage, video)
        except (JobError, OSError) as error:
            return Gate("loads", False, str(error))
        scored = "made-up features" if video is None else video.name
        return Gate("loads", True, f"loaded, and scored {scored}: {frames} frames", {"frames": frames})


def _shortest(test: Examination, folder: Path) -> Path | None:
    """Return a local file of the shortest test video, None if it is a folder of pictures."""
    path = fetch(test.videos.sort("num_frames", nulls_last=True)["source"][0], folder)
    return None if path.is_dir() else path


def _champion(job: Job, model: str, policy: Policy, test: Examination) -> Predictions:
    try:
        found = _predictions(job, model, policy, test, may_evaluate=True)
    except (UsageError, JobError) as error:
        raise JobError(f"the champion, {model}, cannot be scored on the policy's manifest: {error}") from error
    assert found is not None
    return found


def _predictions(job: Job, model: str, policy: Policy, test: Examination, may_evaluate: bool) -> Predictions | None:
    """Return a model's predictions of the test part: its training's own, else those of an evaluation."""
    with suppress(UsageError):  # none: it was registered without predictions, or they are damaged
        found = resolve(model, job.storage, job.tracking_uri)
        own = read_predictions(found.predictions())
        if _is_of(own, test) and own.digests.model == bundle_digest(found.bundle()[0]):
            return own
    if not may_evaluate:
        return None
    plain = _plain(job, policy)
    return _evaluated(plain, evaluation.prepare_candidate(plain, test.source, trained_candidate(plain, model)))


def _baseline(job: Job, baseline: Baseline, model: str, policy: Policy, test: Examination) -> Predictions | Absent:
    """Return the predictions of a model's baseline on the test part: its training's own, else an evaluation's."""
    plain = _plain(job, policy)
    try:
        candidate = kept_candidate(plain, baseline, model)
    except UsageError as error:  # damaged: its gate fails, the others are judged
        return Absent(str(error))
    if isinstance(candidate, Absent):
        return candidate
    folder = resolve(model, job.storage, job.tracking_uri).part(baseline.folder)
    if folder is not None and (folder / PREDICTIONS).is_file():
        own = read_predictions(folder / PREDICTIONS)
        if _is_of(own, test) and own.digests.model == candidate.content["model"]:
            return own
    return _evaluated(plain, evaluation.prepare_candidate(plain, test.source, candidate))


def _plain(job: Job, policy: Policy) -> Job:
    """Return the job of an evaluation that belongs to a judgement: without name, with the policy's frame tolerance."""
    data = job.config.data.model_copy(update={"frame_tolerance": policy.evaluation.frame_tolerance})
    return replace(job, name=None, fresh=False, config=job.config.model_copy(update={"data": data}))


def _evaluated(job: Job, prepared: evaluation.Evaluation) -> Predictions:
    result = evaluation.run(job, prepared)
    found = resolve(f"{RunKind.EVALUATION}/{result.run}", job.storage, job.tracking_uri)
    return read_predictions(found.predictions())


def _is_of(predictions: Predictions, test: Examination) -> bool:
    whole = set(predictions.video_ids) == set(test.videos["video_id"])
    digests = predictions.digests
    return digests.annotations == test.annotations_digest or (digests.manifest == test.source.digest and whole)


def _check_classes(policy: Policy, known: Sequence[str]) -> None:
    """Raise UsageError for a margin of a class that neither model knows."""
    for name in policy.margins.classes:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"margins.classes: neither model knows the class {name}; did you mean {nearest}?")
