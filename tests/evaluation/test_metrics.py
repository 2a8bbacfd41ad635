"""The figures of a predictions table, against scikit-learn and against cases worked by hand."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalyclip.evaluation.figures import FIGURES, youden_threshold
from anomalyclip.evaluation.localisation_figures import LOCALISATION_FIGURES
from anomalyclip.evaluation.metrics import Metrics, compute_metrics, video_level, video_score
from anomalyclip.evaluation.predictions import Digests, Predictions
from tests.predicted import in_memory

LOCALISATION = {figure.name for figure in LOCALISATION_FIGURES}
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
    return in_memory(
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


def class_value(metrics: Metrics, kind: str, name: str) -> float | None:
    estimate = metrics.of_class[kind][name]
    return None if estimate is None else estimate.value


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
    assert found.value("auc") == pytest.approx(roc_auc_score(anomalous, table.scores), abs=1e-12)
    assert found.value("ap") == pytest.approx(average_precision_score(anomalous, table.scores), abs=1e-12)
    for column, name in ((0, "Arson"), (1, "Fighting")):
        truth = [name in names for names in flat]
        column_scores = table.probabilities[:, column]
        assert class_value(found, "auc", name) == pytest.approx(roc_auc_score(truth, column_scores), abs=1e-12)
        assert class_value(found, "ap", name) == pytest.approx(average_precision_score(truth, column_scores), abs=1e-12)
    normal = [not names for names in flat]
    assert class_value(found, "auc", "Normal") == pytest.approx(roc_auc_score(normal, table.probabilities[:, 2]))
    assert found.interval("auc") is not None and found.interval("m_auc") is not None


def test_the_control_ranks_frames_by_their_videos_mean_alone() -> None:
    table = predictions(MIXED)
    means = np.concatenate([np.full(len(own), own.mean()) for own in np.split(table.scores, table.offsets[1:-1])])
    expected = roc_auc_score(table.anomalous, means)
    found = compute_metrics(table)
    assert found.value("video_mean_auc") == pytest.approx(expected) != pytest.approx(found.value("auc"))
    flat = replace(table, scores=means)
    control, whole = (compute_metrics(each).figures["video_mean_auc"] for each in (table, flat))
    assert control and whole and control.value == pytest.approx(whole.value)
    of_means = compute_metrics(flat).figures["auc"]
    assert control.replicates and of_means and of_means.replicates
    np.testing.assert_allclose(control.replicates.left_out, of_means.replicates.left_out)
    assert control.interval == of_means.interval != None  # noqa: E711
    # a constant score of each video knows nothing of when
    assert compute_metrics(flat).value("within_auc") == 0.5


def test_means_are_over_the_abnormal_classes_that_occur() -> None:
    found = compute_metrics(predictions(MIXED))
    arson, fighting = class_value(found, "auc", "Arson"), class_value(found, "auc", "Fighting")
    assert arson is not None and fighting is not None
    assert found.value("m_auc") == pytest.approx((arson + fighting) / 2)
    assert found.value("m_ap") == pytest.approx(
        sum(class_value(found, "ap", name) or 0 for name in ("Arson", "Fighting")) / 2
    )


def test_a_true_zero_counts_in_the_mean() -> None:
    table = predictions([[["Arson"], []], [["Fighting"], []]])
    table.probabilities[:, 0] = [0.1, 0.9, 0.9, 0.9]
    table.probabilities[:, 1] = [0.1, 0.1, 0.9, 0.1]
    found = compute_metrics(table)
    assert (class_value(found, "auc", "Arson"), class_value(found, "auc", "Fighting")) == (0.0, 1.0)
    assert found.value("m_auc") == 0.5
    assert found.flat()["auc/Arson"] == 0.0


def test_absent_and_unknown_classes_are_null_and_named() -> None:
    found = compute_metrics(predictions(MIXED))
    assert found.absent_classes == ("Robbery",)
    assert found.unknown_classes == ("Riot",)
    assert class_value(found, "auc", "Robbery") is class_value(found, "ap", "Robbery") is None
    assert class_value(found, "auc", "Riot") is class_value(found, "ap", "Riot") is None


def test_unknown_classes_count_as_anomalous() -> None:
    found = compute_metrics(predictions([[["Riot"], []], [[], []]], scores=[0.9, 0.1, 0.2, 0.3]))
    assert (found.value("auc"), found.value("video_auc")) == (1.0, 1.0)
    assert found.value("m_auc") is None


@pytest.mark.parametrize("names", [[], ["Arson"]], ids=["all normal", "all anomalous"])
def test_undefined_figures_are_none_and_left_out(names: list[str]) -> None:
    found = compute_metrics(predictions([[names, names], [names]]))
    defined = {name for name, estimate in found.figures.items() if estimate}
    assert found.flat().keys() == defined == (LOCALISATION if names else set())  # segments are true or false


def test_a_perfect_model_has_no_interval() -> None:
    found = compute_metrics(predictions([[["Arson"], []]] * 6, scores=[0.9, 0.1] * 6))
    assert (found.value("auc"), found.value("ap"), found.interval("auc")) == (1.0, 1.0, None)
    assert found.value("youden_threshold") == pytest.approx(0.9)


def test_video_auc_ranks_videos_by_their_highest_segments() -> None:
    quiet, peak = [0.2] * 64, [0.2] * 16 + [0.8] * 16 + [0.2] * 32
    truth: list[list[list[str]]] = [[[]] * 64, [[]] * 20 + [["Arson"]] * 4 + [[]] * 40]
    assert compute_metrics(predictions(truth, scores=quiet + peak)).value("video_auc") == 1.0
    assert compute_metrics(predictions(truth, scores=peak + quiet)).value("video_auc") == 0.0


def test_video_score_is_the_mean_of_the_three_highest_segments() -> None:
    scores = np.repeat([0.1, 0.9, 0.2, 0.6, 0.3], 16)
    assert video_score(scores, 16) == pytest.approx((0.9 + 0.6 + 0.3) / 3)
    assert video_score(scores, segment_frames=32, top=1) == pytest.approx(0.5)


def test_segments_of_a_fraction_of_a_frame_divide_the_video_evenly() -> None:
    scores = np.array([0.1, 0.1, 0.5, 0.9, 0.9])  # segments of 5/2 frames: 0 and 1, then 2 to 4
    assert video_score(scores, Fraction(5, 2), top=1) == pytest.approx((0.5 + 0.9 + 0.9) / 3)
    assert video_score(scores, Fraction(1, 2), top=1) == pytest.approx(0.9)


def test_segments_of_snippets_are_as_long_as_their_video_makes_them() -> None:
    table = replace(predictions([[[]] * 80, [["Arson"]] * 40]), snippets=32)
    assert [table.segment_length(video) for video in range(2)] == [40, 20]
    assert video_level(table).scores[1] == pytest.approx(video_score(table.scores[80:], 20))


def test_video_score_of_a_short_video_takes_the_segments_there_are() -> None:
    assert video_score(np.array([0.2, 0.4]), 16) == pytest.approx(0.3)
    # 16 frames and a rest of 4, each a segment of its own.
    assert video_score(np.repeat([0.2, 0.6], [16, 4]), 16) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="without frames"):
        video_score(np.array([]), 16)


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
    with_interval = {"auc", "m_auc", "within_auc", "video_mean_auc", "ap", "m_ap", "video_m_ap"}
    single = {*with_interval, "video_auc", "youden_threshold", *LOCALISATION}
    intervals = {f"{name}_{end}" for name in with_interval for end in ("low", "high")}
    of_class = {f"{kind}/{name}" for kind in ("auc", "ap", "video_ap") for name in ("Arson", "Fighting", "Normal")}
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


def unlocated(table: Predictions, videos: list[int], labels: list[list[str]]) -> Predictions:
    """The same table with the truth of frames unknown in some videos, which have these labels."""
    truth, video_truth, known = table.truth.copy(), table.video_truth.copy(), table.known.copy()
    for video, names in zip(videos, labels, strict=True):
        truth[table.frames_of(video)] = False
        video_truth[video] = [name in names for name in table.label_classes]
        known[video] = False
    return replace(table, truth=truth, video_truth=video_truth, known=known)


def test_videos_without_intervals_count_in_the_figures_of_videos_alone() -> None:
    whole = predictions(MIXED)
    found = compute_metrics(unlocated(whole, [2], [["Fighting", "Riot"]]))
    without = compute_metrics(whole.select([0, 1, 3, 4, 5]))
    for name in ("auc", "ap", "m_auc", "m_ap", "youden_threshold"):
        assert found.value(name) == without.value(name), name
    assert found.interval("auc") == without.interval("auc")
    assert (found.value("video_auc"), found.value("video_m_ap")) == (
        compute_metrics(whole).value("video_auc"),
        compute_metrics(whole).value("video_m_ap"),
    )
    assert (found.videos, found.located, found.unlocated) == (6, 3, 1)
    assert (found.unlocated_classes, found.unknown_classes) == (("Fighting",), ("Riot",))
    assert class_value(found, "auc", "Fighting") is None and class_value(found, "video_ap", "Fighting")


def test_without_any_interval_figures_of_frames_are_null_and_say_why() -> None:
    table = unlocated(predictions(MIXED), [0, 2, 3, 5], [["Arson"], ["Fighting"], ["Riot"], ["Arson"]])
    found = compute_metrics(table)
    assert found.value("video_auc") is not None and found.value("video_m_ap") is not None
    for name in ("auc", "ap", "m_auc", "m_ap"):
        assert found.text(FIGURES[name]) == "undefined: no test video has frame intervals"
    assert not {key for key in found.flat() if not key.startswith("video_")}
    only = compute_metrics(table.select([0, 2, 3, 5]))  # not even a normal video has a known truth
    assert only.value("auc") is None and only.value("video_auc") is None


def test_the_video_level_score_of_a_class_is_that_of_its_highest_segments_and_of_normal_of_its_lowest() -> None:
    table = predictions([[[]] * 80, [["Arson"]] * 40])
    videos = video_level(table)
    for video in range(2):
        own = table.probabilities[table.frames_of(video)]
        segments = np.array([own[start : start + 16].mean(axis=0) for start in range(0, len(own), 16)])
        ranked = np.sort(segments, axis=0)
        np.testing.assert_allclose(videos.probabilities[video, :2], ranked[-3:, :2].mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(videos.probabilities[video, 2], ranked[:3, 2].mean(), rtol=1e-6)
    longer = video_level(replace(table, segment_frames=32))
    assert longer.scores[0] == pytest.approx(video_score(table.scores[:80], 32)) != pytest.approx(videos.scores[0])


def test_video_figures_equal_scikit_learns() -> None:
    table, rng = predictions(MIXED), np.random.default_rng(1)
    table.probabilities[:] = rng.random(table.probabilities.shape)
    found, videos = compute_metrics(table), video_level(table)
    anomalous = [any(names for names in video) for video in MIXED]
    assert found.value("video_auc") == pytest.approx(roc_auc_score(anomalous, videos.scores))
    aps = []
    for column, name in ((0, "Arson"), (1, "Fighting")):
        holds = [any(name in names for names in video) for video in MIXED]
        aps.append(average_precision_score(holds, videos.probabilities[:, column]))
        assert class_value(found, "video_ap", name) == pytest.approx(aps[-1])
    assert found.value("video_m_ap") == pytest.approx(np.mean(aps))
