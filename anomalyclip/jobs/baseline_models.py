"""The models behind the baselines: made from the videos of a training, and read again from what it has kept."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from anomalyclip.baselines.linear import LinearModel, fit_linear, load_linear, save_linear
from anomalyclip.config import RunConfig
from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.baselines import NO_TEXT_TOWER, Absent
from anomalyclip.evaluation.scoring import Scorer, bundle_scorer
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.jobs.candidates import zero_shot_scorer
from anomalyclip.model.bundle import ModelCard
from anomalyclip.storage import Storage, scratch
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.training.fit import FitData, fit
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, split_bags, steps_per_epoch
from anomalyclip.training.setup import build_model, normality_prototype, save_trained, video_means

MIL_METHOD, MIL_STEPS, MIL_BATCH = "sultani", 250, 64
"""Method of the baseline `mil`, and the length and batch size of its training: seconds on one core."""
CPU = torch.device("cpu")

Maker = Callable[[Path], Scorer | Absent]
"""Makes a baseline: writes its files into a folder, and returns what scores; UsageError or JobError if it cannot."""


def makers(plan: FitPlan, card: ModelCard, backbone: Backbone | None) -> dict[str, Maker]:
    """Return what makes each baseline of a fit, by name; those that learn use all its training videos.

    The videos held out for validation are among them: a baseline has no epoch to choose. Each gives the same model
    whenever it is made.
    """
    return {
        "zero_shot": partial(_zero_shot, card, backbone),
        "linear": partial(_linear, plan, card),
        "mil": partial(_mil, plan, card),
    }


def kept_scorer(name: str, folder: Path, card: ModelCard) -> Scorer:
    """Return a baseline from the files that its maker has written beside the model of a card; raises UsageError."""
    if name == "linear":
        return _linear_scorer(load_linear(folder), card)
    return bundle_scorer(folder, CPU)


def _zero_shot(card: ModelCard, backbone: Backbone | None, folder: Path) -> Scorer | Absent:
    """Return zero-shot CLIP with the model's classes; absent if no text tower belongs to the features."""
    if backbone is None:
        return NO_TEXT_TOWER
    return zero_shot_scorer(backbone, card.classes, card.sampling_rate)


def _linear(plan: FitPlan, card: ModelCard, folder: Path) -> Scorer:
    cache, bags = _videos(plan)
    means = video_means(cache, [bag.video_id for bag in bags])
    abnormal = [name for name in plan.classes if name != NORMAL]
    labels = [NORMAL if bag.label == NORMAL_LABEL else abnormal[bag.label] for bag in bags]
    model = fit_linear(means, labels, plan.classes)
    save_linear(folder, model)
    return _linear_scorer(model, card)


def _mil(plan: FitPlan, card: ModelCard, folder: Path) -> Scorer:
    cache, bags = _videos(plan)
    config = _mil_config(plan.config, bags)
    prototype = normality_prototype(cache, [bag.video_id for bag in split_bags(bags)[1]])
    model = build_model(plan.classes, None, prototype, config)
    with TemporaryDirectory(dir=scratch()) as temporary:
        checkpoints = CheckpointStore(Storage(temporary), "fit")
        fit(model, FitData(bags, (), cache), config, checkpoints)
        weights = checkpoints.load(config.training.num_epochs - 1).weights
    save_trained(folder, model, weights, config, plan.backbone_identity, card.precision, card.lengths)
    return bundle_scorer(folder, CPU)


def _mil_config(config: RunConfig, bags: list[Bag]) -> RunConfig:
    """Return a fit's settings with the method, the length and the batch size of the baseline."""
    settings = {"batch_size": MIL_BATCH, "workers": 1, "precision": "float32"}
    training = config.training.model_copy(update=settings)
    epochs = math.ceil(MIL_STEPS / steps_per_epoch(bags, training))
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"method": MIL_METHOD}),
            "training": training.model_copy(update={"epochs": epochs}),
        }
    )


def _linear_scorer(model: LinearModel, card: ModelCard) -> Scorer:
    """Return the linear baseline of a model as what scores; video-level scores are over the model's segments."""
    segment = card.model.frames_per_segment * (card.sampling_rate or 1)
    return Scorer(model.score, model.classes, model.dim, card.sampling_rate, segment, model.digest)


def _videos(plan: FitPlan) -> tuple[FeatureCache, list[Bag]]:
    """Return the cache that the workers of this node have built for the fit, and all its training videos."""
    store = FeatureStore(Storage(plan.storage_root), plan.fingerprint)
    cache = FeatureCache.build(store, dict(plan.sources), plan.config.cache.max_gigabytes)
    # sorted, so that the order of a manifest's rows changes nothing
    return cache, sorted([*plan.train, *plan.validation])
