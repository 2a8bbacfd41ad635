"""Jackknife intervals: exact against brute force and scikit-learn, and covering what they promise."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import t as student_t
from sklearn.metrics import roc_auc_score

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import compare, mean_differences
from anomalyclip.evaluation.declarations import Table
from anomalyclip.evaluation.figures import mean_of
from anomalyclip.evaluation.intervals import (
    Interval,
    Replicates,
    auc_replicates,
    difference,
    logit_interval,
    plain_interval,
    within_video_replicates,
)
from anomalyclip.evaluation.predictions import Digests, Predictions
from tests.predicted import in_memory

CLASSES = ("Arson", "Fighting", "Normal", "Riot")
Truth = list[tuple[int, str | None]]

# (frames, class) a video; Riot occurs in one video only.
VIDEOS: Truth = [(30, None), (7, "Arson"), (20, "Fighting"), (12, "Arson"), (16, None), (25, "Riot"), (9, None)]


def predictions(seed: int, videos: Truth = VIDEOS, levels: int = 12) -> Predictions:
    """Noisy predictions, scores on few levels so that many tie."""
    rng = np.random.default_rng(seed)
    lengths = np.array([frames for frames, _ in videos])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = ("Arson", "Fighting", "Riot")
    truth = np.zeros((int(offsets[-1]), 3), dtype=np.bool_)
    for start, (frames, name) in zip(offsets, videos, strict=False):
        if name:
            truth[start + frames // 3 : start + frames // 3 + frames // 2, labels.index(name)] = True
    noise = rng.integers(0, levels, (len(truth), 5)) / (2 * levels)
    bonus = np.column_stack([truth[:, 0], truth[:, 1], ~truth.any(1), truth[:, 2]]) * 0.25
    return in_memory(
        video_ids=tuple(f"v{i}" for i in range(len(videos))),
        offsets=offsets,
        scores=(noise[:, 4] + truth.any(1) * 0.25).astype(np.float32),
        probabilities=(noise[:, :4] + bonus).astype(np.float32),
        truth=truth,
        classes=CLASSES,
        label_classes=labels,
        digests=Digests("m", "a", "x"),
    )


def without(table: Predictions, video: int, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.delete(values, np.arange(table.offsets[video], table.offsets[video + 1]), axis=0)


@pytest.mark.parametrize("levels", [3, 12, 10**6])
def test_point_equals_scikit_learn_with_and_without_ties(levels: int) -> None:
    table = predictions(0, levels=levels)
    found = auc_replicates(table.scores, table.anomalous, table.offsets)
    assert found is not None
    assert found.point == pytest.approx(roc_auc_score(table.anomalous, table.scores), abs=1e-12)


@pytest.mark.parametrize("levels", [3, 12, 10**6])
def test_left_out_values_equal_brute_force(levels: int) -> None:
    table = predictions(1, levels=levels)
    found = auc_replicates(table.scores, table.anomalous, table.offsets)
    assert found is not None
    brute = [
        roc_auc_score(without(table, v, table.anomalous), without(table, v, table.scores))
        for v in range(len(table.video_ids))
    ]
    np.testing.assert_allclose(found.left_out, brute, atol=1e-12)


@pytest.mark.parametrize("levels", [3, 10**6])
def test_within_video_auc_is_the_mean_of_the_videos_that_have_both_kinds(levels: int) -> None:
    table = predictions(1, levels=levels)
    found = within_video_replicates(table.scores, table.anomalous, table.offsets)
    assert found is not None
    areas = {}
    for video, (start, end) in enumerate(pairwise(table.offsets)):
        if 0 < table.anomalous[start:end].sum() < end - start:
            areas[video] = roc_auc_score(table.anomalous[start:end], table.scores[start:end])
    assert 1 < len(areas) < len(table.video_ids)
    assert found.point == pytest.approx(np.mean(list(areas.values())))
    brute = [
        np.mean([area for other, area in areas.items() if other != video]) for video in range(len(table.video_ids))
    ]
    np.testing.assert_allclose(found.left_out, brute, atol=1e-12)
    assert found.clusters == len(areas)


def test_mean_left_out_values_equal_brute_force_and_drop_a_class_with_its_only_video() -> None:
    table = predictions(2)
    found = mean_of("auc")(Table(table))
    assert found and found.replicates
    mean = found.replicates
    for video in range(len(table.video_ids)):
        truth, scores = without(table, video, table.truth), without(table, video, table.probabilities)
        columns = [(0, 0), (1, 1), (2, 3)]  # label column, model column
        aucs = [roc_auc_score(truth[:, i], scores[:, j]) for i, j in columns if truth[:, i].any()]
        # Fighting and Riot have one video each.
        assert len(aucs) == (2 if video in (2, 5) else 3)
        assert mean.left_out[video] == pytest.approx(np.mean(aucs), abs=1e-12)


def test_the_interval_holds_the_point_and_stays_inside_zero_and_one() -> None:
    table = predictions(3)
    found = auc_replicates(table.scores, table.anomalous, table.offsets)
    interval = logit_interval(found)
    assert found is not None and interval is not None
    assert 0 < interval.low < found.point < interval.high < 1


def test_the_interval_is_the_logit_jackknife_with_as_many_degrees_as_anomalous_videos() -> None:
    left_out = np.array([0.8, 0.82, 0.78, 0.81, 0.79])
    logits = np.log(left_out / (1 - left_out))
    error = np.sqrt(4 / 5 * np.square(logits - logits.mean()).sum())
    t_two_degrees = 0.95 * np.sqrt(2 / 0.0975)
    found = logit_interval(Replicates(0.8, left_out, clusters=3))
    bounds = 1 / (1 + np.exp(-(np.log(4) + np.array([-1, 1]) * t_two_degrees * error)))
    assert found is not None
    assert [found.low, found.high] == pytest.approx(list(bounds), abs=1e-12)


@pytest.mark.parametrize(
    "replicates",
    [
        None,
        Replicates(0.8, np.array([0.8, 0.7, 0.8, 0.9]), 2),
        Replicates(1.0, np.ones(6), 3),
        Replicates(0.0, np.zeros(6), 3),
        Replicates(0.9, np.array([0.9, 0.9, 0.9, 0.9, 1.0]), 3),
        Replicates(0.9, np.array([0.9, 0.9, 0.9, 0.9, np.nan]), 1),
    ],
    ids=["undefined", "four videos", "all right", "all wrong", "right without one", "undefined without one"],
)
def test_no_interval_where_none_can_be_had(replicates: Replicates | None) -> None:
    assert logit_interval(replicates) is None


def test_the_plain_interval_is_there_where_the_logit_has_none() -> None:
    found = plain_interval(Replicates(0.9, np.array([0.9, 0.9, 0.9, 0.9, 1.0]), 3))
    assert found is not None and found.low < 0.9 < found.high
    assert plain_interval(Replicates(1.0, np.ones(6), 3)) == Interval(1.0, 1.0)
    assert plain_interval(Replicates(0.9, np.array([0.9, 0.9, 0.9, 0.9, np.nan]), 1)) is None


def test_the_better_model_has_the_lower_figure_where_lower_is_better() -> None:
    a, b = (Replicates(np.mean(left_out), np.array(left_out), 4) for left_out in ([1, 2, 3, 2, 1], [2, 4, 3, 5, 3]))
    higher, lower = difference(a, b), difference(a, b, lower_is_better=True)
    assert higher and lower and higher.better and lower.better
    assert (higher.value, higher.interval) == (lower.value, lower.interval)
    assert higher.better < 0.5 < lower.better == pytest.approx(1 - higher.better)


def test_auc_is_undefined_without_positives_or_negatives() -> None:
    offsets = np.array([0, 2, 4])
    scores = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    assert auc_replicates(scores, np.zeros(4, dtype=np.bool_), offsets) is None
    assert auc_replicates(scores, np.ones(4, dtype=np.bool_), offsets) is None


def test_a_single_anomalous_video_gives_a_point_and_no_interval() -> None:
    table = predictions(4, [(20, None)] * 6 + [(20, "Arson")])
    found = auc_replicates(table.scores, table.anomalous, table.offsets)
    assert found is not None and np.isnan(found.left_out[-1])
    assert logit_interval(found) is None
    mean = mean_of("auc")(Table(table))
    assert mean is not None and mean.interval is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    normal, anomalous, frames = 60, 30, 12
    offsets = np.arange(0, (normal + anomalous) * frames + 1, frames)
    positive = np.repeat(np.arange(normal + anomalous) >= normal, frames)
    # Scores are normal with variance 1 + 0.25 a frame, positives one higher: AUC = Φ(1 / √2.5).
    auc, hits, draws = 0.7364553715672888, 0, 400
    for _ in range(draws):
        video = np.repeat(rng.normal(0, 1, normal + anomalous), frames)
        scores = video + rng.normal(0, 0.5, len(video)) + positive
        interval = logit_interval(auc_replicates(scores.astype(np.float32), positive, offsets))
        hits += interval is not None and interval.low <= auc <= interval.high
    # Three standard errors of 400 draws are 0.033.
    assert 0.92 <= hits / draws <= 0.985


def test_paired_difference_equals_brute_force_whatever_the_order_of_videos() -> None:
    a, b = predictions(5), predictions(6)
    found = compare(a, b).figures
    point = roc_auc_score(a.anomalous, a.scores) - roc_auc_score(b.anomalous, b.scores)
    brute = np.array(
        [
            roc_auc_score(without(a, v, a.anomalous), without(a, v, a.scores))
            - roc_auc_score(without(b, v, b.anomalous), without(b, v, b.scores))
            for v in range(7)
        ]
    )
    error = np.sqrt(6 / 7 * np.square(brute - brute.mean()).sum())
    t_three_degrees = 3.182446305284263
    assert found["auc"] is not None and found["auc"].interval is not None and found["m_auc"] is not None
    assert found["auc"].value == pytest.approx(point, abs=1e-12)
    assert found["auc"].interval.high - point == pytest.approx(t_three_degrees * error, abs=1e-12)
    shuffled = compare(a, b.select([3, 0, 6, 2, 1, 5, 4])).figures
    assert shuffled["auc"] is not None and shuffled["auc"].interval is not None and shuffled["m_auc"] is not None
    assert shuffled["auc"].interval.low == pytest.approx(found["auc"].interval.low, abs=1e-12)
    assert shuffled["m_auc"].value == pytest.approx(found["m_auc"].value, abs=1e-12)


def test_a_difference_of_several_trainings_is_that_of_their_means() -> None:
    a, b = [predictions(seed) for seed in (5, 6, 7)], [predictions(seed) for seed in (8, 9)]
    found = mean_differences(("auc", "m_auc"), [a[0], a[1].select([2, 0, 1, 6, 5, 4, 3]), a[2]], b)
    pairs = [[compare(one, other).figures for other in b] for one in a]
    for name in ("auc", "m_auc"):
        each = [pair[name] for row in pairs for pair in row]
        expected = np.mean([difference.value for difference in each if difference])
        of_means = found[name]
        assert of_means and of_means.value == pytest.approx(expected, abs=1e-12)

    def mean_auc(tables: list[Predictions], video: int) -> float:
        return float(
            np.mean([roc_auc_score(without(t, video, t.anomalous), without(t, video, t.scores)) for t in tables])
        )

    left_out = np.array([mean_auc(a, video) - mean_auc(b, video) for video in range(len(VIDEOS))])
    error = np.sqrt((len(VIDEOS) - 1) / len(VIDEOS) * np.square(left_out - left_out.mean()).sum())
    assert found["auc"] is not None and found["auc"].interval is not None
    width = found["auc"].interval.high - found["auc"].interval.low
    assert width == pytest.approx(2 * student_t.ppf(0.975, 4 - 1) * error, rel=1e-9)


def test_a_model_does_not_differ_from_itself() -> None:
    table = predictions(8)
    found = compare(table, table).figures
    assert found["auc"] is not None and found["m_auc"] is not None
    assert (found["auc"].value, found["auc"].interval) == (0.0, Interval(0.0, 0.0))
    assert (found["m_auc"].value, found["m_auc"].interval) == (0.0, Interval(0.0, 0.0))


def test_models_of_other_classes_have_no_difference_in_m_auc() -> None:
    a = predictions(9)
    b = replace(a, classes=CLASSES[:3], probabilities=a.probabilities[:, :3])
    found = compare(a, b).figures
    assert found["auc"] is not None and found["m_auc"] is None


def test_pairs_of_other_videos_or_other_truth_are_refused() -> None:
    a = predictions(10)
    with pytest.raises(UsageError, match="same videos: 1 only in the first: v6"):
        compare(a, predictions(10, VIDEOS[:-1]))
    other = replace(a, truth=a.truth.copy())
    other.truth[a.offsets[1], 0] ^= True
    with pytest.raises(UsageError, match="1 of 7 videos differ in their frames or labels: v1"):
        compare(a, other)


def test_the_interval_of_a_difference_ends_where_differences_do() -> None:
    left_out = np.array([0.9, 0.1, 0.9, 0.1, 0.5])
    found = difference(Replicates(0.9, left_out, 2, most=1.0), Replicates(0.2, np.full(5, 0.2), 2, most=1.0))
    assert found is not None and found.interval == Interval(-1.0, 1.0)
