"""The figures of a predictions table, against scikit-learn and against cases worked by hand."""

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalyclip.evaluation.metrics import Metrics, compute_metrics, video_score, youden_threshold
from anomalyclip.evaluation.predictions import Digests, Predictions

CLASSES = ("Arson", "Fighting", "Normal", "Robbery")


def predictions(
    truth: Sequence[Sequence[Sequence[str]]],
    scores: Sequence[float] | None = None,
    classes: tuple[str, ...] = CLASSES,
) -> Predictions:
    """A table of these labels (video, frame, names); random probabilities where scores are not given."""
    rng = np.random.default_rng(0)
    frames = [set(names) for video in truth for names in video]
    found = set().union(*frames)
    known = [name for name in classes if name in found]
    label_classes = (*known, *sorted(found - set(known)))
    drawn = rng.integers(0, 20, len(frames)) / 20 if scores is None else np.array(scores)
    return Predictions(
        video_ids=tuple(f"v{i}" for i in range(len(truth))),
        offsets=np.concatenate([[0], np.cumsum([len(video) for video in truth])]).astype(np.int64),
        scores=drawn.astype(np.float32),
        probabilities=(rng.integers(0, 20, (len(frames), len(classes))) / 20).astype(np.float32),
        truth=np.array([[name in names for name in label_classes] for names in frames], dtype=np.bool_).reshape(
            len(frames), len(label_classes)
        ),
        classes=classes,
        label_classes=label_classes,
        digests=Digests("m", "a", "x"),
    )


MIXED: list[list[list[str]]] = [
    [[], [], ["Arson"], ["Arson"], []],
    [[], [], []],
    [["Fighting"], ["Fighting", "Riot"], []],
    [["Riot"], [], []],
    [[], []],
    [["Arson"], [], []],
]


def test_figures_equal_scikit_learns() -> None:
    table = predictions(MIXED)
    found = compute_metrics(table)
    flat = [set(names) for video in MIXED for names in video]
    anomalous = [bool(names) for names in flat]
    assert found.auc == pytest.approx(roc_auc_score(anomalous, table.scores), abs=1e-12)
    assert found.ap == pytest.approx(average_precision_score(anomalous, table.scores), abs=1e-12)
    for column, name in ((0, "Arson"), (1, "Fighting")):
        truth = [name in names for names in flat]
        column_scores = table.probabilities[:, column]
        assert found.class_auc[name] == pytest.approx(roc_auc_score(truth, column_scores), abs=1e-12)
        assert found.class_ap[name] == pytest.approx(average_precision_score(truth, column_scores), abs=1e-12)
    normal = [not names for names in flat]
    assert found.class_auc["Normal"] == pytest.approx(roc_auc_score(normal, table.probabilities[:, 2]))
    assert found.auc_interval is not None and found.m_auc_interval is not None


def test_means_are_over_the_abnormal_classes_that_occur() -> None:
    found = compute_metrics(predictions(MIXED))
    arson, fighting = found.class_auc["Arson"], found.class_auc["Fighting"]
    assert arson is not None and fighting is not None
    assert found.m_auc == pytest.approx((arson + fighting) / 2)
    assert found.m_ap == pytest.approx(((found.class_ap["Arson"] or 0) + (found.class_ap["Fighting"] or 0)) / 2)


def test_a_true_zero_counts_in_the_mean() -> None:
    table = predictions([[["Arson"], []], [["Fighting"], []]])
    table.probabilities[:, 0] = [0.1, 0.9, 0.9, 0.9]
    table.probabilities[:, 1] = [0.1, 0.1, 0.9, 0.1]
    found = compute_metrics(table)
    assert (found.class_auc["Arson"], found.class_auc["Fighting"]) == (0.0, 1.0)
    assert found.m_auc == 0.5
    assert found.flat()["auc/Arson"] == 0.0


def test_absent_and_unknown_classes_are_null_and_named() -> None:
    found = compute_metrics(predictions(MIXED))
    assert found.absent_classes == ("Robbery",)
    assert found.unknown_classes == ("Riot",)
    assert found.class_auc["Robbery"] is found.class_ap["Robbery"] is None
    assert found.class_auc["Riot"] is found.class_ap["Riot"] is None


def test_unknown_classes_count_as_anomalous() -> None:
    found = compute_metrics(predictions([[["Riot"], []], [[], []]], scores=[0.9, 0.1, 0.2, 0.3]))
    assert (found.auc, found.video_auc) == (1.0, 1.0)
    assert found.m_auc is None


@pytest.mark.parametrize("names", [[], ["Arson"]], ids=["all normal", "all anomalous"])
def test_undefined_figures_are_none_and_left_out(names: list[str]) -> None:
    found = compute_metrics(predictions([[names, names], [names]]))
    assert found.auc is found.ap is found.video_auc is found.youden_threshold is found.m_auc is None
    assert found.flat() == {}


def test_a_perfect_model_has_no_interval() -> None:
    found = compute_metrics(predictions([[["Arson"], []]] * 6, scores=[0.9, 0.1] * 6))
    assert (found.auc, found.ap, found.auc_interval) == (1.0, 1.0, None)
    assert found.youden_threshold == pytest.approx(0.9)


def test_video_auc_ranks_videos_by_their_highest_segments() -> None:
    quiet, peak = [0.2] * 64, [0.2] * 16 + [0.8] * 16 + [0.2] * 32
    truth: list[list[list[str]]] = [[[]] * 64, [[]] * 20 + [["Arson"]] * 4 + [[]] * 40]
    assert compute_metrics(predictions(truth, scores=quiet + peak)).video_auc == 1.0
    assert compute_metrics(predictions(truth, scores=peak + quiet)).video_auc == 0.0


def test_video_score_is_the_mean_of_the_three_highest_segments() -> None:
    scores = np.repeat([0.1, 0.9, 0.2, 0.6, 0.3], 16)
    assert video_score(scores) == pytest.approx((0.9 + 0.6 + 0.3) / 3)
    assert video_score(scores, segment_frames=32, top=1) == pytest.approx(0.5)


def test_video_score_of_a_short_video_takes_the_segments_there_are() -> None:
    assert video_score(np.array([0.2, 0.4])) == pytest.approx(0.3)
    # 16 frames and a rest of 4, each a segment of its own.
    assert video_score(np.repeat([0.2, 0.6], [16, 4])) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="without frames"):
        video_score(np.array([]))


def test_youden_threshold_is_a_score_that_separates_best() -> None:
    positive = np.array([0, 0, 0, 1, 0, 1, 1, 1], dtype=np.bool_)
    scores = np.array([0.1, 0.2, 0.25, 0.3, 0.4, 0.7, 0.9, 0.95], dtype=np.float32)
    # At 0.7 three of four are found and none falsely; at 0.3 all of them, one of three falsely.
    assert youden_threshold(positive[1:], scores[1:]) == pytest.approx(0.7)
    constant = youden_threshold(positive, np.full(8, 0.5, dtype=np.float32))
    assert constant == 0.5 and math.isfinite(constant)


def test_flat_names_the_figures_for_a_tracking_server() -> None:
    found = compute_metrics(predictions(MIXED))
    flat = found.flat()
    single = {"auc", "ap", "m_auc", "m_ap", "video_auc", "youden_threshold"}
    intervals = {"auc_low", "auc_high", "m_auc_low", "m_auc_high"}
    of_class = {f"{kind}/{name}" for kind in ("auc", "ap") for name in ("Arson", "Fighting", "Normal")}
    assert flat.keys() == single | intervals | of_class
    assert all(type(value) is float and math.isfinite(value) for value in flat.values())
    assert flat["auc_low"] < flat["auc"] < flat["auc_high"]


def test_class_names_become_distinct_metric_names_of_allowed_characters() -> None:
    names = ("hit & run", "hit + run", "..", "a/b", "Überfall", "Normal")
    table = predictions([[[name], []] for name in names[:-1]], classes=names)
    flat = Metrics.flat(compute_metrics(table))
    keys = {key for key in flat if key.startswith("auc/")}
    assert keys == {"auc/hit _ run", "auc/hit _ run_2", "auc/_", "auc/a_b", "auc/_berfall", "auc/Normal"}
    assert all(re.fullmatch(r"[A-Za-z0-9_\-. /]+", key) for key in flat)
