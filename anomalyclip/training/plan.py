"""What a fit will be trained on, checked before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from anomalyclip.config import RunConfig, TrainingConfig
from anomalyclip.data.labels import NORMAL, class_names, unknown_test_classes
from anomalyclip.data.splits import with_validation
from anomalyclip.errors import UsageError
from anomalyclip.training.sampling import Bag, split_bags
from anomalyclip.training.setup import bags_of


@dataclass(frozen=True)
class TrainingPlan:
    """The parts of a manifest and its classes."""

    manifest: pl.DataFrame
    """With the validation part marked where the protocol wants one, else without any."""
    classes: list[str]
    unknown_classes: list[str]
    """Classes of the test part that nothing can be learnt of."""

    def bags(self, split: str) -> list[Bag]:
        """Return the bags of a split."""
        return bags_of(self.manifest, split, self.classes)


def plan_training(manifest: pl.DataFrame, config: RunConfig) -> TrainingPlan:
    """Split a manifest as the protocol wants it; raises UsageError for what cannot be trained on."""
    classes = class_names(manifest, config.data.classes)
    training = manifest.filter(pl.col("split") != "test")
    strangers = set(training["labels"].explode().drop_nulls()) - set(classes)
    if strangers:
        raise UsageError(f"labels {', '.join(sorted(strangers))} are not among the run's classes: {', '.join(classes)}")
    if config.training.protocol == "clean":
        check_both_kinds(bags_of(manifest, "train", classes), "training")
        manifest = with_validation(manifest, config.training.validation_fraction, config.training.seed)
    else:
        manifest = manifest.with_columns(pl.col("split").replace("val", "train"))
    plan = TrainingPlan(manifest, classes, unknown_test_classes(manifest, classes))
    check_batches(plan.bags("train"), config.training)
    if config.training.final_fit:
        check_batches(plan.bags("train") + plan.bags("val"), config.training)
    return plan


def check_batches(bags: Sequence[Bag], config: TrainingConfig) -> None:
    """Raise UsageError unless there are videos of both kinds and the workers divide each kind's part of a batch."""
    check_both_kinds(bags, "training")
    for kind, side in zip(("abnormal", "normal"), split_bags(bags), strict=True):
        size = min(config.batch_size // 2, len(side))
        if size % config.workers:
            divisible = 2 * (size - size % config.workers)
            raise UsageError(
                f"{config.workers} workers do not divide a batch of {size} {kind} videos ({len(side)} in the "
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
