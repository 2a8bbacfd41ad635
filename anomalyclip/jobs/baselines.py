"""Baselines of a training: made from its own videos, kept with its run, and scored on the same test videos."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from anomalyclip.baselines.linear import LinearModel, fit_linear, load_linear, save_linear
from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES, NO_TEXT_TOWER, Absent, Baseline
from anomalyclip.evaluation.comparison import Measured
from anomalyclip.evaluation.report import PREDICTIONS, write_report
from anomalyclip.evaluation.scoring import Scorer, score_manifest
from anomalyclip.evaluation.standing import Standing, standing
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, trained_candidate, zero_shot_of, zero_shot_scorer
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.sources import Source
from anomalyclip.model.bundle import ModelCard, load_card
from anomalyclip.runs import RunFolder
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.resolve import MlflowName
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.sampling import NORMAL_LABEL

log = logging.getLogger("anomalyclip")

Maker = Callable[[Path], Scorer | Absent]
"""Makes a baseline: writes its files into a folder, and returns what scores; raises UsageError if it cannot be made."""


def makers(plan: FitPlan, card: ModelCard, backbone: Backbone | None) -> dict[str, Maker]:
    """Return what makes each baseline of a fit, by name; those that learn use all its training videos.

    The videos held out for validation are among them: a baseline has no epoch to choose.
    """
    return {"zero_shot": partial(_zero_shot, card, backbone), "linear": partial(_linear, plan, card)}


def make_and_compare(
    tracking: TrackedRun,
    run: RunFolder,
    source: Source,
    extracted: Extracted,
    model: Measured | None,
    by_name: Mapping[str, Maker],
) -> Standing | None:
    """Make the baselines, score the test videos with them, keep all with the run, and compare the model with them.

    `model` are the model's figures; None, and no standing, if there is no test video.
    """
    others = {name: _made(tracking, run, source, extracted, BASELINES[name], make) for name, make in by_name.items()}
    if model is None:
        return None
    found = standing(model, {name: other for name, other in others.items() if other is not None})
    tracking.log_tags(found.tags())
    return found


def log_standing(found: Standing) -> None:
    """Log the table of model and baselines, and the same in words, as a warning if the model is doubtful."""
    log.info("%d test videos, 95 %% intervals:\n\n%s\n", found.model.metrics.videos, found.table())
    log.log(logging.WARNING if found.is_doubtful else logging.INFO, "%s", found.sentence)


def kept_baseline(job: Job, baseline: Baseline, model: str) -> Candidate | Absent:
    """Return the baseline of a registered model (`models:/NAME/VERSION`), as its training has made it."""
    if baseline.name == "zero_shot":
        return zero_shot_of(job, load_card(MlflowName(model, job.tracking_uri).bundle()[0])) or NO_TEXT_TOWER
    own = trained_candidate(job, model)
    folder = MlflowName(model, job.tracking_uri).logged(baseline.folder)
    if folder is None:
        return Absent(
            "the version has none, as it was registered before there were any or its training could not fit one: "
            "train again"
        )
    assert isinstance(own.scorer, Path)
    scorer = _linear_scorer(load_linear(folder), load_card(own.scorer))
    return replace(
        own,
        scorer=scorer,
        content={"model": scorer.digest, "features": own.imported},
        tags={**own.tags, "model": baseline.folder, "model_kind": baseline.folder},
        parameters={},
        model_id=None,
    )


def _made(
    tracking: TrackedRun, run: RunFolder, source: Source, extracted: Extracted, baseline: Baseline, make: Maker
) -> Measured | Absent | None:
    """Make one baseline; returns its figures, why there is none, or None without test videos."""
    test, measured = extracted.manifest.filter(pl.col("split") == "test"), None
    with TemporaryDirectory(dir=scratch()) as temporary:
        folder = Path(temporary)
        try:
            scorer = make(folder)
        except UsageError as error:
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


def _zero_shot(card: ModelCard, backbone: Backbone | None, folder: Path) -> Scorer | Absent:
    """Return zero-shot CLIP with the model's classes; absent if no text tower belongs to the features."""
    if backbone is None:
        return NO_TEXT_TOWER
    return zero_shot_scorer(backbone, card.classes, card.sampling_rate)


def _linear(plan: FitPlan, card: ModelCard, folder: Path) -> Scorer:
    cache = _cache(plan)
    bags = sorted([*plan.train, *plan.validation])  # so that the order of a manifest's rows changes nothing
    frames = np.array([cache.num_frames(bag.video_id) * cache.crops(bag.video_id) for bag in bags])
    means = np.stack([cache.feature_sum(bag.video_id) for bag in bags]) / frames[:, None]
    abnormal = [name for name in plan.classes if name != NORMAL]
    labels = [NORMAL if bag.label == NORMAL_LABEL else abnormal[bag.label] for bag in bags]
    model = fit_linear(means, labels, plan.classes)
    save_linear(folder, model)
    return _linear_scorer(model, card)


def _linear_scorer(model: LinearModel, card: ModelCard) -> Scorer:
    """Return the linear baseline of a model as what scores; video-level scores are over the model's segments."""
    rate = card.sampling_rate
    return Scorer(model.score, model.classes, model.dim, rate, card.model.frames_per_segment * rate, model.digest)


def _cache(plan: FitPlan) -> FeatureCache:
    """Return the cache that the workers of this node have built for the fit."""
    store = FeatureStore(Storage(plan.storage_root), plan.fingerprint)
    return FeatureCache.build(store, dict(plan.sources), plan.config.cache.max_gigabytes)
