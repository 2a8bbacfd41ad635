from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from anomalyclip.config import DataConfig, RunConfig, TrainingConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.training.plan import check_batches, check_both_kinds, plan_training
from anomalyclip.training.sampling import NORMAL_LABEL, Bag

COUNTS = {("train", "a"): 5, ("train", "b"): 5, ("train", ""): 6, ("test", "a"): 1, ("test", ""): 1}


def manifest(counts: Mapping[tuple[str, str], int] = COUNTS) -> pl.DataFrame:
    """A manifest of so many videos of each split and label."""
    rows: list[tuple[Any, ...]] = [
        (f"{split}-{label}{number}", "x.mp4", split, [label] if label else [], [], None)
        for (split, label), count in counts.items()
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def config(classes: tuple[str, ...] | None = None, **training: object) -> RunConfig:
    settings = TrainingConfig.model_validate({"batch_size": 4, **training})
    return RunConfig(data=DataConfig(classes=classes), training=settings)


def test_clean_holds_out_a_validation_part_of_both_kinds() -> None:
    plan = plan_training(manifest(), config())
    assert plan.classes == ["a", "b", "Normal"]
    assert sorted(bag.label for bag in plan.bags("val")) == [NORMAL_LABEL, 0, 1]
    assert (len(plan.bags("train")), len(plan.bags("test"))) == (13, 2)


def test_paper_trains_on_all_training_videos() -> None:
    plan = plan_training(manifest(), config(protocol="paper"))
    assert (len(plan.bags("train")), plan.bags("val")) == (16, [])


def test_val_rows_are_clean_s_validation_part_and_paper_s_training_videos() -> None:
    videos = manifest({**COUNTS, ("val", "a"): 1, ("val", ""): 2})
    clean = plan_training(videos, config())
    assert (len(clean.bags("train")), len(clean.bags("val"))) == (16, 3)
    paper = plan_training(videos, config(protocol="paper"))
    assert (len(paper.bags("train")), paper.bags("val")) == (19, [])


@pytest.mark.parametrize("protocol", ["clean", "paper"])
@pytest.mark.parametrize(
    "counts, abnormal, normal",
    [({("test", "a"): 1}, 0, 0), ({("train", ""): 5}, 0, 5), ({("train", "a"): 5}, 5, 0)],
)
def test_a_training_part_without_both_kinds_is_refused(
    protocol: str, counts: dict[tuple[str, str], int], abnormal: int, normal: int
) -> None:
    with pytest.raises(UsageError, match=f"training part has {abnormal} abnormal and {normal} normal videos"):
        plan_training(manifest(counts), config(protocol=protocol))


@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_outside_of_the_runs_classes_are_refused(split: str) -> None:
    with pytest.raises(UsageError, match=r"labels c, d are not among the run's classes: a, b, Normal"):
        plan_training(manifest({**COUNTS, (split, "d"): 1, (split, "c"): 1}), config(classes=("a", "b")))


def test_a_class_of_the_test_part_alone_is_named_not_refused() -> None:
    plan = plan_training(manifest({**COUNTS, ("test", "new"): 1}), config())
    assert (plan.classes, plan.unknown_classes) == (["a", "b", "Normal"], ["new"])


def bags(abnormal: int, normal: int) -> list[Bag]:
    return [Bag(f"a{i}", 0) for i in range(abnormal)] + [Bag(f"n{i}", NORMAL_LABEL) for i in range(normal)]


@pytest.mark.parametrize(
    "abnormal, normal, workers, complaint",
    [
        (5, 8, 2, r"2 workers do not divide a batch of 5 abnormal .*workers=1 or training.batch_size=8$"),
        (8, 7, 4, r"4 workers do not divide a batch of 7 normal videos .*workers=1 or training.batch_size=8$"),
        (8, 1, 2, r"2 workers do not divide a batch of 1 normal videos .*workers=1$"),
    ],
)
def test_workers_that_do_not_divide_a_shrunk_batch_are_refused_with_a_way_out(
    abnormal: int, normal: int, workers: int, complaint: str
) -> None:
    training = TrainingConfig(batch_size=16, workers=workers)
    with pytest.raises(UsageError, match=complaint):
        check_batches(bags(abnormal, normal), training)
    if "batch_size" in complaint:
        check_batches(bags(abnormal, normal), training.model_copy(update={"batch_size": 8}))
    check_batches(bags(abnormal, normal), training.model_copy(update={"workers": 1}))


def test_a_training_part_that_divides_only_without_its_validation_part_is_refused() -> None:
    videos = manifest({("train", "a"): 8, ("train", ""): 6})
    with pytest.raises(UsageError, match="2 workers do not divide a batch of 5 normal videos"):
        plan_training(videos, config(batch_size=12, workers=2))
    plan_training(videos, config(batch_size=12, workers=2, protocol="paper"))


def test_a_final_fit_on_all_training_videos_is_checked_too() -> None:
    videos = manifest({("train", "a"): 8, ("train", ""): 5})
    plan_training(videos, config(batch_size=12, workers=2))
    with pytest.raises(UsageError, match="2 workers do not divide a batch of 5 normal videos"):
        plan_training(videos, config(batch_size=12, workers=2, final_fit=True))


def test_a_part_that_quarantine_left_without_a_kind_is_refused() -> None:
    check_both_kinds(bags(1, 1), "validation")
    with pytest.raises(UsageError, match="validation part has 0 abnormal and 2 normal videos"):
        check_both_kinds(bags(0, 2), "validation")
