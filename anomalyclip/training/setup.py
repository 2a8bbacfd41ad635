"""Model and bags of a training, the same on every worker; and a trained model's files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalyclip.baselines.registry import COMPETITORS
from anomalyclip.config import ModelConfig, Precision, RunConfig
from anomalyclip.data.labels import NORMAL, video_class
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.feature_file import Features
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, write_bundle
from anomalyclip.model.directions import FixedDirections, FreeDirections, PromptDirections
from anomalyclip.model.engineered import engineered_features
from anomalyclip.model.method import Method, TrainingFeatures
from anomalyclip.model.zero_shot_logit import ZeroShotLogit
from anomalyclip.training.checkpoints import State, load_learnt_state
from anomalyclip.training.sampling import NORMAL_LABEL, Bag

FRAMES = 32
"""Frames of a training video that deviation and logistic regression are computed from."""


def bags_of(manifest: pl.DataFrame, split: str, classes: Sequence[str]) -> list[Bag]:
    """Return the videos of a split with the index of their class among the abnormal ones."""
    abnormal = [name for name in classes if name != NORMAL]
    rows = manifest.filter(pl.col("split") == split).select("video_id", "labels").iter_rows()
    return [Bag(video_id, abnormal.index(video_class(labels)) if labels else NORMAL_LABEL) for video_id, labels in rows]


def normality_prototype(cache: FeatureCache, video_ids: Iterable[str]) -> Tensor:
    """Return m, the mean feature `(dim,)` over all frames (and crops) of the given normal videos (Section 2)."""
    video_ids = sorted(video_ids)
    total = np.sum([cache.feature_sum(video_id) for video_id in video_ids], axis=0)
    count = sum(cache.num_frames(video_id) * cache.crops(video_id) for video_id in video_ids)
    return torch.from_numpy(total / count).float()


def video_means(cache: FeatureCache, video_ids: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean feature of each video over its frames and crops, `(videos, dim)`."""
    return np.stack([cache.feature_sum(each) / (cache.num_frames(each) * cache.crops(each)) for each in video_ids])


def training_features(cache: FeatureCache, bags: Sequence[Bag]) -> TrainingFeatures:
    """Return the features of the training videos, in the order of their ids."""
    ordered = sorted(bags)
    ids = [bag.video_id for bag in ordered]
    return TrainingFeatures(
        labels=torch.tensor([bag.label for bag in ordered]),
        means=torch.from_numpy(video_means(cache, ids)).float(),
        frames=lambda: torch.from_numpy(np.stack([_spread_frames(cache, each) for each in ids])).float(),
    )


def _spread_frames(cache: FeatureCache, video_id: str) -> Features:
    """Return `FRAMES` features of a video, evenly spread, its crops in turn, `(frames, dim)`."""
    spread = np.linspace(0, cache.num_frames(video_id) - 1, FRAMES).astype(np.int64)
    return cache.video(video_id)[spread, np.arange(FRAMES) % cache.crops(video_id)]


def build_model(classes: Sequence[str], backbone: Backbone | None, prototype: Tensor, config: RunConfig) -> Method:
    """Return an untrained model of the configured method; its initial weights depend only on the seed.

    Without a backbone, for features that are not CLIP's, directions must be free. Raises UsageError otherwise, and
    if its text features have another size than the prototype `(dim,)`.
    """
    torch.manual_seed(config.training.seed)
    if config.model.method in COMPETITORS:
        return COMPETITORS[config.model.method].build(classes, classes.index(NORMAL), prototype, config.model, backbone)
    directions = build_directions(classes, backbone, len(prototype), config.model)
    zero_shot = _zero_shot_logit(classes, backbone, len(prototype)) if config.model.zero_shot else None
    return AnomalyCLIP(directions, classes, classes.index(NORMAL), prototype, config.model, zero_shot)


def _zero_shot_logit(classes: Sequence[str], backbone: Backbone | None, dim: int) -> ZeroShotLogit:
    if backbone is None or backbone.dim != dim:
        raise UsageError(f"features have {dim} numbers, but no text tower fits them: set model.zero_shot=false")
    texts = engineered_features(classes, text_tower(backbone.model), backbone.tokenizer).float()
    scale = float(cast(Tensor, backbone.model.logit_scale).exp())
    return ZeroShotLogit(scale * F.normalize(texts, dim=-1), classes.index(NORMAL))


def build_directions(classes: Sequence[str], backbone: Backbone | None, dim: int, config: ModelConfig) -> nn.Module:
    """Return the configured source of directions (Table 3) for features of `dim` numbers."""
    abnormal = [index for index, name in enumerate(classes) if name != NORMAL]
    names = [classes[index] for index in abnormal]
    if config.directions == "free":
        return FreeDirections(len(abnormal), dim, _text_scale(names, backbone) if backbone else dim**-0.5)
    if backbone is None or backbone.dim != dim:
        text = f"text features of {backbone.name} have {backbone.dim}" if backbone else "there is no text tower"
        raise UsageError(f"features have {dim} numbers, but {text}: set model.directions=free")
    tower = text_tower(backbone.model)
    if config.directions == "engineered":
        return FixedDirections(engineered_features(names, tower, backbone.tokenizer))
    return PromptDirections(classes, abnormal, tower, backbone.tokenizer, config)


def _text_scale(names: Sequence[str], backbone: Backbone) -> float:
    """Return the root mean square of the class text features, or that of unit vectors if there are none."""
    try:
        features = engineered_features(names, text_tower(backbone.model), backbone.tokenizer)
    except UsageError:  # a text tower of an unsupported kind
        return float(backbone.dim**-0.5)
    return features.square().mean().sqrt().item()


def median_and_longest(stored: Sequence[int]) -> tuple[int, int] | None:
    """Return the median and the largest number of stored features of the training videos; None if none is known."""
    return (int(np.median(stored)), max(stored)) if stored else None


def save_trained(
    folder: Path,
    model: Method,
    weights: State,
    config: RunConfig,
    backbone_identity: str | None,
    precision: Precision,
    lengths: tuple[int, int] | None = None,
) -> None:
    """Write a checkpoint's model to a local folder as a bundle; `model` gets its weights.

    `precision` is that of the image tower that computed the features, `lengths` are those of the training videos
    (`median_and_longest`).
    """
    load_learnt_state(model, weights)
    card = ModelCard(
        classes=model.classes,
        normal_index=model.normal_index,
        model=config.model,
        backbone=config.backbone,
        backbone_identity=backbone_identity,
        features=config.data.features,
        sampling_rate=config.extraction.sampling_rate,
        crops=config.extraction.crops,
        precision=precision,
        lengths=lengths,
    )
    write_bundle(folder, model.bundle_tensors(weights), card)
