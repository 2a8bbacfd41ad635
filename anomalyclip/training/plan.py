"""Plan of a training: its videos, classes and batch size, checked before any work starts; and warnings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from anomalyclip.config import EpochChoice, RunConfig, TrainingConfig
from anomalyclip.data.labels import NORMAL, class_names, unknown_test_classes
from anomalyclip.data.splits import with_validation
from anomalyclip.errors import UsageError
from anomalyclip.model.anomaly_clip import DIRECTIONS_COSINE
from anomalyclip.training.sampling import Bag, split_bags, steps_per_epoch
from anomalyclip.training.setup import bags_of
from anomalyclip.training.validation import AUC, best_epoch

BATCH_SIZES = (64, 32, 16, 8, 4)
STEPS_PER_EPOCH = 8
"""Least number of steps per epoch that the choice of a batch size aims at."""
FEW_STEPS = 200
MANY_REPEATED = 0.25
"""Share of repeated frames in the windows of short videos that is worth a warning: a fitted grid leaves less."""
EQUAL_DIRECTIONS = 0.95
"""Mean cosine between the directions of different classes above which they count as one."""
ONE_IN_TWENTY = 1.645
"""Standard deviations above the mean that a normal variable exceeds once in 20 times."""


@dataclass(frozen=True)
class TrainingPlan:
    """The parts of a manifest and its classes."""

    manifest: pl.DataFrame
    """With a validation part if the protocol uses one."""
    classes: list[str]
    unknown_classes: list[str]
    """Classes that occur in the test part only: no model can learn them."""
    config: RunConfig
    """The configuration of the fit: with a batch size, also if none was given."""

    def bags(self, split: str) -> list[Bag]:
        """Return the bags of a split."""
        return bags_of(self.manifest, split, self.classes)


def plan_training(manifest: pl.DataFrame, config: RunConfig) -> TrainingPlan:
    """Split a manifest as the protocol requires; raises UsageError if it cannot be trained on."""
    classes = class_names(manifest, config.data.classes)
    training = manifest.filter(pl.col("split") != "test")
    unknown = set(training["labels"].explode().drop_nulls()) - set(classes)
    if unknown:
        raise UsageError(f"labels {', '.join(sorted(unknown))} are not among the run's classes: {', '.join(classes)}")
    if config.training.protocol == "clean":
        check_both_kinds(bags_of(manifest, "train", classes), "training")
        manifest = with_validation(manifest, config.training.validation_fraction, config.training.seed)
    else:
        manifest = manifest.with_columns(pl.col("split").replace("val", "train"))
    bags = bags_of(manifest, "train", classes)
    check_both_kinds(bags, "training")
    if config.training.batch_size is None:
        config = _with_batch_size(config, bags)
    check_batches(bags, config.training)
    if config.training.final_fit:
        check_batches(bags + bags_of(manifest, "val", classes), config.training)
    return TrainingPlan(manifest, classes, unknown_test_classes(manifest, classes), config)


def warnings_before(
    plan: TrainingPlan, stored: Mapping[str, int], is_benchmark: bool, is_fitted: bool = False
) -> list[str]:
    """Return the warnings before a training, one line each: few steps, an unfit backbone, short videos.

    Args:
        plan: the plan of the fit.
        stored: the number of stored features of every training video, by `video_id`.
        is_benchmark: whether the footage is the drawn benchmark: `clip-tiny` was made for it, and its preset's steps
            are known to be enough.
        is_fitted: whether the length of a clip was fitted to the videos.
    """
    config, lines = plan.config, []
    bags, training = plan.bags("train"), config.training
    steps = steps_per_epoch(bags, training)
    if steps * training.num_epochs < FEW_STEPS and not is_benchmark:
        lines.append(
            f"{steps} steps per epoch, {steps * training.num_epochs} in all: fewer than {FEW_STEPS} are seldom enough; "
            f"raise training.epochs={training.num_epochs} or lower training.batch_size={training.batch_size}"
        )
    if config.backbone.name == "clip-tiny" and config.data.features is None and not is_benchmark:
        lines.append(
            "backbone clip-tiny has seen drawn pictures only: for real footage set "
            "backbone.name=ViT-B-16-quickgelu and backbone.weights=openai"
        )
    window = config.model.segments * config.model.frames_per_segment
    span = window * config.model.stride
    short = [stored[bag.video_id] for bag in bags if stored[bag.video_id] < span]
    repeated = 1 - sum(min(count, window) for count in short) / (window * len(short)) if short else 0.0
    if repeated > MANY_REPEATED and not is_fitted:
        lines.append(
            f"{len(short)} of {len(bags)} training videos are shorter than a window of {span} stored features "
            f"(model.segments x frames_per_segment x stride): {repeated:.0%} of their windows are repeated frames; "
            "lower these settings to fit the videos, or set model.fit_grid=true"
        )
    return lines


def warnings_after(history: Sequence[Mapping[str, float]], validation: Sequence[Bag], choice: EpochChoice) -> list[str]:
    """Return the warnings after a training, one line each: equal directions, and validation at chance or too small.

    Validation is at chance if random scores would reach its AUC more often than once in 20 times. Their AUC has the
    mean 0.5 and the deviation sqrt((a + n + 1) / (12 a n)) for a abnormal and n normal videos (Mann and Whitney). The
    best of several epochs reaches it more often: the rule finds the clear cases only.
    """
    lines = _directions_warning(history)
    best = history[best_epoch(history, choice)].get(AUC)
    return lines if best is None else lines + _validation_warning(best, validation)


def _directions_warning(history: Sequence[Mapping[str, float]]) -> list[str]:
    start, end = (history[epoch].get(DIRECTIONS_COSINE, 0.0) for epoch in (0, -1))
    if max(start, end) <= EQUAL_DIRECTIONS:
        return []
    return [
        f"directions of different classes are nearly one: mean cosine {start:.3f} after the first epoch, {end:.3f} "
        "after the last: all classes select the same segments; try model.directions=free and "
        "model.initial_directions=class_means"
    ]


def _validation_warning(best: float, validation: Sequence[Bag]) -> list[str]:
    abnormal, normal = map(len, split_bags(validation))
    least = 0.5 + ONE_IN_TWENTY * math.sqrt((abnormal + normal + 1) / (12 * abnormal * normal))
    if best > least:
        return []
    counts = f"{abnormal} abnormal and {normal} normal videos"
    if least >= 1:
        return [f"validation has too few videos to tell the model from chance: {counts}"]
    return [
        f"validation is at chance: video-level AUC {best:.3f} at the chosen epoch, where random scores reach "
        f"{least:.3f} once in 20 times ({counts})"
    ]


def _with_batch_size(config: RunConfig, bags: Sequence[Bag]) -> RunConfig:
    """Return the configuration with the batch size that these training videos call for."""
    tried = [config.training.model_copy(update={"batch_size": size}) for size in BATCH_SIZES]
    chosen = next((one for one in tried if steps_per_epoch(bags, one) >= STEPS_PER_EPOCH), tried[-1])
    return config.model_copy(update={"training": chosen})


def check_batches(bags: Sequence[Bag], config: TrainingConfig) -> None:
    """Raise UsageError unless the workers divide each kind's part of a batch; there are videos of both kinds."""
    for kind, side in zip(("abnormal", "normal"), split_bags(bags), strict=True):
        size = min(config.half_batch, len(side))
        for workers in range(config.fewest_workers, config.workers + 1):
            if size % workers == 0:
                continue
            divisible = 2 * (size - size % workers)
            raise UsageError(
                f"{workers} workers do not divide a batch of {size} {kind} videos ({len(side)} in the "
                f"training part): set training.workers=1{f' or training.batch_size={divisible}' if divisible else ''}"
            )


def check_both_kinds(bags: Sequence[Bag], part: str) -> None:
    """Raise UsageError unless a part of the manifest has abnormal and normal videos."""
    abnormal, normal = split_bags(bags)
    if not abnormal or not normal:
        raise UsageError(
            f"the {part} part has {len(abnormal)} abnormal and {len(normal)} normal videos: "
            f"it needs both (a video is {NORMAL} when it has no labels)"
        )
