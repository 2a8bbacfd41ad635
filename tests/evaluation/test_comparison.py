"""Two models side by side: what differs, how surely, on which videos, and when it may not be said."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalyclip.config import EventsConfig
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import Comparison, compare
from anomalyclip.evaluation.figures import FIGURES
from anomalyclip.evaluation.intervals import Difference, Interval, average_precision_replicates
from anomalyclip.evaluation.predictions import Digests, Predictions
from anomalyclip.events.detection import OperatingPoint
from tests.predicted import in_memory

CLASSES = ("Arson", "Fighting", "Normal")
VIDEOS = 24
FALSE_ALARMS = {"false_alarms_per_hour", "normal_false_alarms_per_hour"}
"""Defined on normal footage alone."""


def table(seed: int, skill: float = 0.3, levels: int = 40) -> Predictions:
    """Predictions of 24 videos, 8 of each class, by a model of some skill; scores on so many levels."""
    rng = np.random.default_rng(seed)
    lengths = 10 + np.arange(VIDEOS) % 7
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    truth = np.zeros((int(offsets[-1]), 2), dtype=np.bool_)
    for video, (start, length) in enumerate(zip(offsets, lengths, strict=False)):
        if video % 3 < 2:
            truth[start + 3 : start + length, video % 3] = True
    noise = rng.integers(0, levels, (len(truth), 4)) / (2 * levels)
    bonus = skill * np.column_stack([truth, ~truth.any(axis=1), truth.any(axis=1)])
    figures = (noise + bonus).astype(np.float32)
    return in_memory(
        video_ids=tuple(f"v{i:02d}" for i in range(VIDEOS)),
        offsets=offsets,
        scores=np.ascontiguousarray(figures[:, 3]),
        probabilities=figures[:, :3],
        truth=truth,
        classes=CLASSES,
        label_classes=("Arson", "Fighting"),
        digests=Digests("m", "a", str(seed)),
        times=np.concatenate([np.arange(length) / 5 for length in lengths]),
        operating=OperatingPoint(detection=0.35, alert=0.7, events=EventsConfig(smoothing=0)),
    )


def differences(comparison: Comparison) -> dict[str, Difference]:
    found = {**{name: comparison.figures[name] for name in ("auc", "ap", "m_auc")}, **comparison.of_class["auc"]}
    assert all(difference is not None for difference in found.values())
    return {name: difference for name, difference in found.items() if difference is not None}


def test_a_model_beside_itself_differs_in_nothing_and_is_as_likely_better_as_worse() -> None:
    first = table(0)
    found = compare(first, replace(first))
    assert set(differences(found)) == {"auc", "ap", "m_auc", *CLASSES}
    assert all(each == Difference(0.0, Interval(0.0, 0.0), 0.5) for each in differences(found).values())
    assert [video.contribution for video in found.videos] == [0.0] * VIDEOS


def test_the_other_order_flips_every_sign() -> None:
    there, back = compare(table(1), table(2)), compare(table(2), table(1))
    for name, one in differences(there).items():
        other = differences(back)[name]
        assert one.interval and other.interval and one.better and other.better
        assert one.value == -other.value
        assert (one.interval.low, one.interval.high) == (-other.interval.high, -other.interval.low)
        assert one.better + other.better == pytest.approx(1, abs=1e-12)
    flipped = {video.video_id: -video.contribution for video in back.videos}
    assert {video.video_id: video.contribution for video in there.videos} == pytest.approx(flipped, abs=1e-15)


def test_a_better_model_is_found_and_its_probability_is_that_of_the_t_distribution() -> None:
    found = differences(compare(table(3, skill=0.4), table(4, skill=0.1)))
    for name, each in found.items():
        assert each.interval and each.interval.low > 0, name
        assert each.better and each.better > 0.975, name
    unsure = differences(compare(table(3, skill=0.15), table(4, skill=0.15)))["auc"]
    assert unsure.interval and unsure.better and 0.025 < unsure.better < 0.975
    # with the interval's quantile of 16 anomalous videos, t = 2.131 of 15 degrees
    error = (unsure.interval.high - unsure.value) / 2.131449545559323
    x, degrees = unsure.value / error, 15
    grid = np.linspace(-200, x, 2_000_001)
    density = (1 + grid**2 / degrees) ** (-(degrees + 1) / 2)
    constant = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    assert unsure.better == pytest.approx(constant * np.trapezoid(density, grid), abs=1e-6)


def test_figures_are_scikit_learns_whatever_the_order_of_videos() -> None:
    a, b = table(5), table(6)
    found, shuffled = compare(a, b), compare(a, b.select(np.random.default_rng(0).permutation(VIDEOS).tolist()))
    truth = a.anomalous
    overall, precision = found.figures["auc"], found.figures["ap"]
    assert overall and precision
    assert overall.value == pytest.approx(roc_auc_score(truth, a.scores) - roc_auc_score(truth, b.scores), abs=1e-12)
    ap = average_precision_score(truth, a.scores) - average_precision_score(truth, b.scores)
    assert precision.value == pytest.approx(ap, abs=1e-12)
    for name, each in differences(found).items():
        other = differences(shuffled)[name]
        assert each.interval and other.interval
        assert (other.value, other.interval.low) == pytest.approx((each.value, each.interval.low), abs=1e-12)
    assert [video.video_id for video in shuffled.videos] == [video.video_id for video in found.videos]


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_average_precision_without_each_video_equals_brute_force(levels: int) -> None:
    predictions = table(7, levels=levels)
    found = average_precision_replicates(predictions.scores, predictions.anomalous, predictions.offsets)
    assert found is not None and found.clusters == 16
    brute = [predictions.select([v for v in range(VIDEOS) if v != left_out]) for left_out in range(VIDEOS)]
    expected = [average_precision_score(each.anomalous, each.scores) for each in brute]
    np.testing.assert_allclose(found.left_out, expected, atol=1e-12)
    assert found.point == pytest.approx(average_precision_score(predictions.anomalous, predictions.scores), abs=1e-12)


def test_average_precision_is_undefined_without_both_kinds_and_without_the_only_anomalous_video() -> None:
    predictions = table(8)
    offsets, none = predictions.offsets, np.zeros(len(predictions.scores), dtype=np.bool_)
    assert average_precision_replicates(predictions.scores, none, offsets) is None
    assert average_precision_replicates(predictions.scores, ~none, offsets) is None
    one = none.copy()
    one[offsets[5] : offsets[6]] = True
    found = average_precision_replicates(predictions.scores, one, offsets)
    assert found is not None and np.isnan(found.left_out).tolist() == [video == 5 for video in range(VIDEOS)]


def test_contributions_of_videos_sum_to_the_difference_and_the_spoilt_video_comes_first() -> None:
    good = table(9)
    spoilt = replace(good, scores=good.scores.copy())
    spoilt.scores[good.frames_of(4)] = 1 - spoilt.scores[good.frames_of(4)]
    found = compare(spoilt, good)
    overall = found.figures["auc"]
    assert overall
    assert sum(video.contribution for video in found.videos) == pytest.approx(overall.value, abs=1e-12)
    first = found.videos[0]
    assert (first.video_id, first.labels, first.frames) == ("v04", ("Fighting",), 14)
    assert first.contribution < 0 and first.first < first.second
    assert all(abs(video.contribution) < abs(first.contribution) / 2 for video in found.videos[1:])


def test_a_video_is_ranked_rightly_in_so_many_of_its_pairs() -> None:
    a, b = table(10), table(11)
    video = next(each for each in compare(a, b).videos if each.labels)
    own = np.zeros(len(a.scores), dtype=np.bool_)
    own[a.frames_of(a.video_ids.index(video.video_id))] = True
    for predictions, share in ((a, video.first), (b, video.second)):
        right = pairs = 0.0
        for kind in (True, False):
            mine = predictions.scores[own & (predictions.anomalous == kind)]
            others = predictions.scores[predictions.anomalous != kind]
            ahead = (mine[:, None] - others) * (1 if kind else -1)
            right, pairs = right + (ahead > 0).sum() + (ahead == 0).sum() / 2, pairs + ahead.size
        assert share == pytest.approx(right / pairs, abs=1e-12)


def test_models_of_other_classes_compare_in_what_both_know() -> None:
    first = table(12)
    second = replace(table(13), classes=("Arson", "Riot", "Normal"))
    found = compare(first, second)
    assert found.figures["m_auc"] is found.figures["m_ap"] is None
    assert set(found.of_class["auc"]) == {"Arson", "Normal"}
    assert found.figures["auc"] and found.figures["ap"]


def test_without_anomalous_frames_nothing_is_defined() -> None:
    first, second = (table(seed).select([2, 5, 8, 11, 14]) for seed in (14, 15))
    found = compare(first, second)
    assert {name for name, difference in found.figures.items() if difference} == FALSE_ALARMS
    assert (list(found.of_class.values()), found.videos) == ([{}, {}, {}], [])


def test_other_videos_are_refused_and_named() -> None:
    a, b = table(16), table(17)
    with pytest.raises(UsageError, match=r"the same videos: 1 only in the first: v03; 2 only in the second: v00, v01$"):
        compare(a.select(list(range(2, 23))), b.select([0, 1, 2, *range(4, 23)]))
    with pytest.raises(UsageError, match=r"12 only in the first: v00, v01, .*, v09, …$"):
        compare(a, b.select(list(range(12, 24))))


def test_other_annotations_are_refused_and_their_videos_named() -> None:
    a, b = table(18), table(19)
    other = replace(b, truth=b.truth.copy())
    other.truth[b.offsets[3]] ^= True
    with pytest.raises(UsageError, match=r"same annotations: 1 of 24 videos differ in their frames or labels: v03$"):
        compare(a, other)
    with pytest.raises(UsageError, match=r"same annotations: the digests of these are a and b, .* on one manifest$"):
        compare(a, replace(b, digests=Digests("m", "b", "x")))
    renamed = replace(b, label_classes=("Arson", "Brawl"))
    with pytest.raises(UsageError, match="8 of 24 videos differ"):
        compare(a, renamed)


def test_another_manifest_of_the_same_annotations_is_no_hindrance() -> None:
    a = table(20)
    assert compare(a, replace(table(21), digests=Digests("other paths", "a", "x"))).figures["auc"]


def unlocated(predictions: Predictions, videos: list[int]) -> Predictions:
    """The same with the truth of frames unknown in some videos."""
    truth, known = predictions.truth.copy(), predictions.known.copy()
    known[videos] = False
    for video in videos:
        truth[predictions.frames_of(video)] = False
    return replace(predictions, truth=truth, known=known)


def test_frames_of_unknown_truth_do_not_count_and_their_videos_do() -> None:
    a, b = (unlocated(table(seed, skill), [0, 1]) for seed, skill in ((22, 0.3), (23, 0.1)))
    found, without = compare(a, b), compare(a.select(range(2, VIDEOS)), b.select(range(2, VIDEOS)))
    for name in ("auc", "m_auc", "ap", "m_ap"):
        assert found.figures[name] == without.figures[name]
    assert found.videos == without.videos
    whole = compare(table(22, 0.3), table(23, 0.1))
    for name in ("video_auc", "video_m_ap"):
        assert found.figures[name] == whole.figures[name] != without.figures[name]
    shuffled = compare(a, b.select(np.random.default_rng(0).permutation(VIDEOS)))
    assert found.figures.keys() == {figure.name for figure in FIGURES.values() if figure.better}
    for name, one in found.figures.items():
        other = shuffled.figures[name]
        assert one and other and one.value == pytest.approx(other.value, abs=1e-12)
        assert (one.interval is None) is not FIGURES[name].paired


def test_without_any_interval_models_compare_by_videos_alone() -> None:
    anomalous = [video for video in range(VIDEOS) if video % 3 < 2]
    a, b = (unlocated(table(seed, skill), anomalous) for seed, skill in ((24, 0.3), (25, 0.1)))
    found = compare(a, b)
    defined = {name for name, difference in found.figures.items() if difference}
    assert defined == {"video_auc", "video_m_ap", *FALSE_ALARMS}
    assert found.videos == []


def test_truth_that_only_one_table_knows_is_another_truth() -> None:
    a, b = table(26), unlocated(table(27), [4])
    with pytest.raises(UsageError, match="1 of 24 videos differ in their frames or labels: v04"):
        compare(a, b)
    relabelled = replace(b, video_truth=b.video_truth.copy())
    relabelled.video_truth[4] = [True, True]
    with pytest.raises(UsageError, match="1 of 24 videos differ in their frames or labels: v04"):
        compare(b, relabelled)
