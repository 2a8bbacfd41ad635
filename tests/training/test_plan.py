from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from anomalyclip.config import DataConfig, RunConfig, TrainingConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError
from anomalyclip.settings import with_settings
from anomalyclip.training.plan import (
    TrainingPlan,
    check_batches,
    check_both_kinds,
    plan_training,
    warnings_after,
    warnings_before,
)
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, epoch_batches, steps_per_epoch
from anomalyclip.training.validation import AUC, LOSS

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


@pytest.mark.parametrize(
    "abnormal, normal, batch_size",
    [(256, 256, 64), (255, 255, 32), (22, 22, 4), (32, 1, 8), (3, 100, 16), (1, 1, 4), (14, 14, 4), (63, 175, 32)],
)
def test_the_batch_size_is_the_largest_that_gives_eight_steps_per_epoch(
    abnormal: int, normal: int, batch_size: int
) -> None:
    videos = manifest({("train", "a"): abnormal, ("train", ""): normal})
    chosen = plan_training(videos, config(batch_size=None, protocol="paper")).config
    assert chosen.training.batch_size == batch_size
    steps = steps_per_epoch(bags(abnormal, normal), chosen.training)
    assert steps >= 8 or batch_size == 4
    assert len(list(epoch_batches(bags(abnormal, normal), 0, chosen.training))) == steps


def test_a_batch_size_that_was_given_or_chosen_stays() -> None:
    assert plan_training(manifest(), config()).config == config()
    chosen = plan_training(manifest(), config(batch_size=None)).config
    more = manifest({("train", "a"): 300, ("train", ""): 300})
    assert plan_training(more, chosen).config == chosen


def test_the_chosen_batch_size_does_not_depend_on_the_number_of_workers() -> None:
    videos = manifest({("train", "a"): 40, ("train", ""): 40})
    sizes = {plan_training(videos, config(batch_size=None, workers=n)).config.training.batch_size for n in (1, 2, 4)}
    assert sizes == {8}


def planned(videos: Mapping[tuple[str, str], int], **sections: Any) -> TrainingPlan:
    settings = with_settings(config(protocol="paper"), [("test", name, value) for name, value in sections.items()])
    return plan_training(manifest(videos), settings)


def stored(plan: TrainingPlan, count: int) -> dict[str, int]:
    return {bag.video_id: count for bag in plan.bags("train")}


def test_a_training_that_is_long_enough_on_long_videos_gives_no_warning() -> None:
    plan = planned(COUNTS, **{"training.epochs": 67, "backbone.name": "ViT-B-16"})
    assert warnings_before(plan, stored(plan, 512), is_benchmark=False) == []


def test_few_steps_are_warned_of_with_the_settings_that_give_more() -> None:
    of_39, of_40 = (
        planned(COUNTS, **{"training.epochs": epochs, "backbone.name": "ViT-B-16"}) for epochs in (39, 40)
    )  # batches of 2 + 2 of 10 + 6 videos
    (line,) = warnings_before(of_39, stored(of_39, 512), is_benchmark=False)
    assert line.startswith("5 steps per epoch, 195 in all: ")
    assert "raise training.epochs=39 or lower training.batch_size=4" in line
    assert warnings_before(of_40, stored(of_40, 512), is_benchmark=False) == []
    assert warnings_before(of_39, stored(of_39, 512), is_benchmark=True) == []


@pytest.mark.parametrize(
    "is_benchmark, sections, warned",
    [
        (False, {}, True),
        (True, {}, False),
        (False, {"backbone.name": "ViT-B-16"}, False),
        (False, {"data.features": "i3d"}, False),
    ],
)
def test_the_drawn_backbone_is_warned_of_on_other_footage(
    is_benchmark: bool, sections: dict[str, Any], warned: bool
) -> None:
    plan = planned(COUNTS, **{"training.epochs": 100, **sections})
    lines = warnings_before(plan, stored(plan, 512), is_benchmark)
    assert [line.startswith("backbone clip-tiny has seen drawn pictures only") for line in lines] == [True] * warned


def test_videos_shorter_than_a_window_are_warned_of_with_the_share_of_repeated_frames() -> None:
    plan = planned(COUNTS, **{"training.epochs": 100, "model.segments": 8, "model.frames_per_segment": 10})
    counts = stored(plan, 80) | {"train-a0": 20, "train-a1": 40}
    (line,) = warnings_before(plan, counts, is_benchmark=True)
    assert line.startswith("2 of 16 training videos are shorter than a window of 80 stored features ")
    assert "62% of their windows are repeated frames" in line
    few_repeated = stored(plan, 80) | {"train-a0": 61}
    assert warnings_before(plan, few_repeated, is_benchmark=True) == []


@pytest.mark.parametrize("auc, warned", [(0.4, True), (0.5, True), (0.682, True), (0.684, False), (1.0, False)])
def test_validation_at_chance_is_warned_of(auc: float, warned: bool) -> None:
    history = [{"learning_rate": 0.1, AUC: value, LOSS: 1.0} for value in (0.3, auc)]
    lines = warnings_after(history, bags(14, 14), "best")
    assert len(lines) == warned
    said = f"AUC {auc:.3f} at the chosen epoch, where random scores reach 0.683 once in 20"
    assert all(said in line for line in lines)


def test_one_video_of_a_kind_cannot_tell_validation_from_chance() -> None:
    (few,) = warnings_after([{"learning_rate": 0.1, AUC: 1.0, LOSS: 1.0}], bags(1, 1), "best")
    assert few == "validation has too few videos to tell the model from chance: 1 abnormal and 1 normal videos"
    assert warnings_after([{"learning_rate": 0.1}], [], "best") == []


def test_a_part_that_quarantine_left_without_a_kind_is_refused() -> None:
    check_both_kinds(bags(1, 1), "validation")
    with pytest.raises(UsageError, match="validation part has 0 abnormal and 2 normal videos"):
        check_both_kinds(bags(0, 2), "validation")
