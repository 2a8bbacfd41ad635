"""The order of classes is the method's, and every frame knows its labels."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomalyclip.data.labels import NORMAL, class_names, frame_labels, known_truth, unknown_test_classes, video_class
from anomalyclip.data.schema import SCHEMA, Anomaly

GOLDEN = Path(__file__).parents[1] / "golden" / "01_tokens.npz"


def table(*videos: tuple[str, list[str]]) -> pl.DataFrame:
    rows = [[f"v{i}", "x.mp4", split, labels, [], None] for i, (split, labels) in enumerate(videos)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.mark.parametrize("dataset", ["ucf", "sht", "xd"])
def test_classes_stand_in_the_order_of_the_golden_fixtures(dataset: str) -> None:
    names = [str(name) for name in np.load(GOLDEN, allow_pickle=False)[f"{dataset}_classnames"]]
    expected = [NORMAL if name == "normal" else name for name in names]
    assert class_names(table(), preset=names[::-1]) == expected
    abnormal = [name for name in expected if name != NORMAL]
    assert class_names(table(*(("train", [name]) for name in abnormal[::-1]))) == expected


def test_classes_are_those_of_training_videos_and_always_hold_normal() -> None:
    df = table(("train", ["b", "a"]), ("val", ["c"]), ("test", ["d", "a"]), ("train", []))
    assert class_names(df) == ["a", "b", "c", NORMAL]
    assert class_names(table(("test", ["d"]))) == [NORMAL]


def test_classes_that_only_the_test_part_has_are_found() -> None:
    df = table(("train", ["a"]), ("test", ["z", "a"]), ("test", ["d"]), ("test", []))
    assert unknown_test_classes(df, class_names(df)) == ["d", "z"]
    assert unknown_test_classes(df, class_names(df, preset=["a", "d", "z"])) == []


def test_intervals_are_inclusive_and_take_the_videos_labels_where_they_have_none() -> None:
    anomalies = [{"start": 1, "end": 2, "labels": ["b"]}, {"start": 4, "end": 9, "labels": []}]
    names, truth = frame_labels(anomalies, ["a", "b"], num_frames=6)  # type: ignore[arg-type]
    assert names == ["a", "b"]
    assert truth.astype(int).tolist() == [[0, 0], [0, 1], [0, 1], [0, 0], [1, 1], [1, 1]]


def test_a_normal_video_has_no_true_frame() -> None:
    names, truth = frame_labels([], [], num_frames=3)
    assert names == [] and truth.shape == (3, 0)


def test_the_frames_of_a_labelled_video_without_an_interval_are_unknown() -> None:
    df = table(("test", []), ("test", ["a"]), ("test", ["a"]))
    interval = {"start": 0, "end": 3, "labels": []}
    df = df.with_columns(anomalies=pl.Series([[], [], [interval]], dtype=SCHEMA["anomalies"]))
    assert df.select(known_truth()).to_series().to_list() == [True, False, True]


def test_a_video_is_trained_as_its_first_label() -> None:
    assert [video_class(["b", "a"]), video_class([])] == ["b", NORMAL]


def test_frames_of_intervals_are_the_originals() -> None:
    golden = np.load(GOLDEN.with_name("10_sampling.npz"))
    normal, anomalous = 7, int(golden["labels_two"][50])
    intervals: list[Anomaly] = [{"start": 40, "end": 70, "labels": []}, {"start": 190, "end": 299, "labels": []}]
    _, truth = frame_labels(intervals, ["Fighting"], 300)
    assert np.array_equal(np.where(truth[:, 0], anomalous, normal), golden["labels_two"])
    _, nothing = frame_labels([], ["Fighting"], 300)
    assert np.array_equal(np.where(nothing[:, 0], anomalous, normal), golden["labels_none"])
