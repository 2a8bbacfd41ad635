"""The intervals cover a known truth as often as they say, on predictions simulated at UCF-Crime's size.

Lengths, classes and annotated intervals are those of UCF-Crime's 290 test videos, of which five hold a quarter of all
frames; a simulated frame stands for 64. Videos and annotations stay, scores are drawn anew in every case, so that the
truth is a closed form. In the normal score behind each class, and behind the anomaly score,

    z = video + frame + anomalous * (shift + skill of the video)

all parts are normal: two frames of different videos differ with variance 2 (video² + frame²) + skill², two of one
video with 2 frame² + skill², and the expected AUC is the mean of the two probabilities of a positive difference,
weighted by pairs. Scores of the two models correlate, as those of two models on the same videos do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from anomalyclip.data.datasets.official_lists import official_list
from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.comparison import figure_difference
from anomalyclip.evaluation.declarations import Table
from anomalyclip.evaluation.figures import FIGURES
from anomalyclip.evaluation.intervals import Interval
from anomalyclip.evaluation.predictions import BoolArray, Digests, FloatArray, IntArray, Predictions
from tests.predicted import in_memory

FRAMES_TO_ONE = 64
VIDEO, FRAME, SKILL = 1.0, 0.7, 0.7
"""Standard deviations of a video's level, of its frames round it, and of how well its anomaly is seen."""
SHARED = 0.7
"""Correlation of the two models' parts."""
JUDGED = ("auc", "m_auc")
SHIFTS = ((1.9, np.linspace(1.2, 3.2, 13)), (1.5, np.linspace(1.5, 2.6, 13)))
"""Of the anomaly score and of each class's, for the better and the worse model."""


@dataclass(frozen=True)
class Videos:
    """What stays over the cases."""

    offsets: IntArray
    truth: BoolArray
    classes: tuple[str, ...]

    @property
    def video(self) -> IntArray:
        """The video of each frame."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@pytest.fixture(scope="module")
def test_set() -> Videos:
    rows = [row for row in official_list("ucf-crime")[0] if row["split"] == "test"]
    classes = tuple(sorted({label for row in rows for label in row["labels"]}))
    lengths = [max(2, round(row["num_frames"] / FRAMES_TO_ONE)) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    truth = np.zeros((int(offsets[-1]), len(classes)), dtype=np.bool_)
    for row, start, length in zip(rows, offsets, lengths, strict=False):
        for anomaly in row["anomalies"]:
            first, last = (anomaly[end] * length // row["num_frames"] for end in ("start", "end"))
            truth[start + first : start + last + 1, classes.index(row["labels"][0])] = True
    return Videos(offsets, truth, classes)


def simulated(test_set: Videos, seed: int) -> tuple[Predictions, Predictions]:
    """Predictions of two models on the test set."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([test_set.truth, test_set.truth.any(axis=1)])
    videos = len(test_set.offsets) - 1
    levels, skills = (list(_correlated(rng, (videos, columns.shape[1]))) for _ in range(2))
    frames = list(_correlated(rng, columns.shape))
    tables = []
    for (shift, class_shifts), level, skill, frame in zip(SHIFTS, levels, skills, frames, strict=True):
        shifts = np.append(class_shifts, shift).astype(np.float32)
        z = VIDEO * level[test_set.video] + FRAME * frame
        z += columns * (shifts + SKILL * skill[test_set.video])
        probabilities = np.column_stack([z[:, :-1], -z[:, -1]]) / 20 + 0.5
        tables.append(_table(test_set, np.ascontiguousarray(z[:, -1] / 20 + 0.5), probabilities))
    return tables[0], tables[1]


def true_figures(test_set: Videos, model: int) -> dict[str, float]:
    """AUC and mAUC that are expected of a model on the test set."""
    shift, class_shifts = SHIFTS[model]
    of_class = [_true_auc(test_set, test_set.truth[:, i], each) for i, each in enumerate(class_shifts)]
    return {"auc": _true_auc(test_set, test_set.truth.any(axis=1), shift), "m_auc": float(np.mean(of_class))}


def _true_auc(test_set: Videos, positive: BoolArray, shift: float) -> float:
    positives = np.add.reduceat(positive, test_set.offsets[:-1], dtype=np.float64)
    negatives = np.diff(test_set.offsets) - positives
    own = (positives * negatives).sum() / (positives.sum() * negatives.sum())
    between = norm.cdf(shift / np.sqrt(2 * (VIDEO**2 + FRAME**2) + SKILL**2))
    within = norm.cdf(shift / np.sqrt(2 * FRAME**2 + SKILL**2))
    return float(own * within + (1 - own) * between)


def _correlated(rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[FloatArray]:
    first, second = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    yield first
    yield np.float32(SHARED) * first + np.float32(np.sqrt(1 - SHARED**2)) * second


def _table(test_set: Videos, scores: FloatArray, probabilities: FloatArray) -> Predictions:
    return in_memory(
        video_ids=tuple(f"v{i}" for i in range(len(test_set.offsets) - 1)),
        offsets=test_set.offsets,
        scores=scores,
        probabilities=probabilities,
        truth=test_set.truth,
        classes=(*test_set.classes, NORMAL),
        label_classes=test_set.classes,
        digests=Digests("m", "a", "x"),
    )


def outcomes(test_set: Videos, cases: int) -> Iterator[dict[str, tuple[float, float, Interval | None]]]:
    """For every case, by figure, single and paired: the truth, the estimate and its interval."""
    truths = [true_figures(test_set, model) for model in range(2)]
    for case in range(cases):
        better, worse = map(Table, simulated(test_set, case))
        found = {}
        for name in JUDGED:
            estimate = FIGURES[name].compute(better)
            difference = figure_difference(FIGURES[name], estimate, FIGURES[name].compute(worse))
            assert estimate and difference
            found[name] = (truths[0][name], estimate.value, estimate.interval)
            found[f"paired {name}"] = (truths[0][name] - truths[1][name], difference.value, difference.interval)
        yield found


def check_coverage(test_set: Videos, cases: int, least: float, most: float) -> None:
    found = list(outcomes(test_set, cases))
    covered = {}
    for name in found[0]:
        truths, points, intervals = zip(*(case[name] for case in found), strict=True)
        # the truth is the estimates' mean: were the closed form wrong, coverage would mean nothing
        error = np.std(points) / np.sqrt(cases)
        assert abs(np.mean(points) - truths[0]) < 4 * error, name
        covered[name] = np.mean(
            [i is not None and i.low <= truth <= i.high for truth, i in zip(truths, intervals, strict=True)]
        )
    assert all(least <= share <= most for share in covered.values()), covered


def test_the_test_set_is_ucf_crimes(test_set: Videos) -> None:
    lengths = np.sort(np.diff(test_set.offsets))
    assert (len(lengths), len(test_set.classes)) == (290, 13)
    assert lengths[-5:].sum() / lengths.sum() == pytest.approx(0.26, abs=0.01)
    assert test_set.truth.any(axis=0).all()


def test_intervals_cover_the_truth_at_ucf_crimes_size(test_set: Videos) -> None:
    check_coverage(test_set, cases=120, least=0.90, most=0.99)


@pytest.mark.accept
def test_intervals_cover_the_truth_in_92_to_98_of_100_cases(test_set: Videos) -> None:
    check_coverage(test_set, cases=600, least=0.92, most=0.98)
