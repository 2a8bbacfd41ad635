"""mAP of temporal localisation: UCF-Crime's known value, a plain computation anew, and its known faults."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from anomalyclip.data.datasets.official_lists import official_list
from anomalyclip.evaluation.declarations import Table
from anomalyclip.evaluation.figures import FIGURES
from anomalyclip.evaluation.localisation import IOUS, Proposals, average_precisions, proposals, standard, vadclip
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.events.detection import DoubleArray
from tests.predicted import in_memory

CLASSES = ("Arson", "Fighting", "Normal", "Robbery")
Segment = tuple[int, int, int]
"""Video, and [start, end) in its frames."""


def table(probabilities: Sequence[np.ndarray], truth: Sequence[np.ndarray], classes: Sequence[str]) -> Predictions:
    """Videos of these probabilities (frames, classes) and truth (frames, abnormal classes)."""
    joined = np.concatenate(probabilities).astype(np.float32)
    return in_memory(
        offsets=np.cumsum([0, *(len(each) for each in truth)]), scores=1 - joined[:, list(classes).index("Normal")],
        probabilities=joined, truth=np.concatenate(truth), classes=tuple(classes),
        label_classes=tuple(name for name in classes if name != "Normal"),
    )  # fmt: skip


def all_proposals(found: Predictions) -> list[Proposals]:
    return [proposals(found.probability_of(name), found.offsets) for name in found.classes]


@pytest.fixture(scope="module")
def ucf_crime() -> Predictions:
    """UCF-Crime's 290 test videos with their official intervals, and perfect probabilities of frames."""
    rows = [row for row in official_list("ucf-crime")[0] if row["split"] == "test"]
    names = sorted({label for row in rows for label in row["labels"]})
    truths = []
    for row in rows:
        truth = np.zeros((row["num_frames"], len(names)), np.bool_)
        for anomaly in row["anomalies"]:
            truth[anomaly["start"] : anomaly["end"] + 1, names.index(row["labels"][0])] = True
        truths.append(truth)
    perfect = [np.column_stack([truth, ~truth.any(axis=1)]) for truth in truths]
    return table(perfect, truths, [*names, "Normal"])


@pytest.fixture(scope="module")
def drawn() -> Predictions:
    """Videos of uneven lengths with noisy probabilities; Robbery never happens."""
    rng = np.random.default_rng(3)
    probabilities, truths = [], []
    for video, frames in enumerate([200, 7, 333, 160, 41, 90, 250, 64]):
        truth = np.zeros((frames, 3), np.bool_)
        if video % 3 < 2:
            truth[frames // 5 : frames // 5 + 1 + frames // 6, video % 3] = True
            truth[frames // 2 : frames // 2 + frames // 4, video % 3] = True
        hits = np.column_stack([truth[:, :2], ~truth.any(axis=1), truth[:, 2]])
        walk = np.cumsum(rng.normal(size=(frames, 4)), axis=0) / 6
        probabilities.append(1 / (1 + np.exp(-(walk + 0.8 * hits - 1))))
        truths.append(truth)
    return table(probabilities, truths, CLASSES)


def test_perfect_scores_of_ucf_crimes_frames_give_the_published_codes_value(ucf_crime: Predictions) -> None:
    found = all_proposals(ucf_crime)
    assert (vadclip(ucf_crime, found, as_published=True) * 100).round(3).tolist() == [92.857] * 5
    assert vadclip(ucf_crime, found, as_published=False).tolist() == standard(ucf_crime, found).tolist() == [1] * 5


def plain(found: Predictions, iou: float, published: bool, interpolated: bool) -> float:
    """The steps of the description, one after the other, for one segment at a time."""
    values = []
    for name in found.classes:
        true = [] if name == "Normal" else _segments(found, found.truth_of(name), 0 if published else 1)
        found_of_class = _proposals(found, name)
        if published and not found_of_class:
            return 0.0
        if published or true:
            values.append(_average_precision(found_of_class, true, iou, interpolated))
    return float(np.mean(values))


def _segments(found: Predictions, flags: np.ndarray, more: int) -> list[Segment]:
    segments = []
    for video in range(len(found.video_ids)):
        own, start = [*flags[found.frames_of(video)].tolist(), False], None
        for frame, flag in enumerate(own):
            if flag and start is None:
                start = frame
            elif not flag and start is not None:
                segments.append((video, start, frame - 1 + more))
                start = None
    return segments


def _proposals(found: Predictions, name: str) -> list[tuple[float, Segment]]:
    kept = []
    for video in range(len(found.video_ids)):
        u = found.probability_of(name)[found.frames_of(video)].astype(np.float64)
        mean = np.mean(sorted(u, reverse=True)[: max(1, len(u) // 16)])
        above = np.zeros(len(found.scores), np.bool_)
        above[found.frames_of(video)] = u > u.max() - 0.6 * (u.max() - u.min())
        for segment in _segments(found, above, 1):
            if segment[2] - segment[1] >= 2:
                kept.append((float(u[segment[1] : segment[2]].max() + 0.7 * mean), segment))
    return sorted(kept, key=lambda each: -each[0])


def _average_precision(
    ranked: Sequence[tuple[float, Segment]], true: Sequence[Segment], iou: float, interpolated: bool
) -> float:
    free, hits = list(true), []
    for _, (video, start, end) in ranked:
        overlaps: Mapping[Segment, float] = {
            other: max(0, min(end, other[2]) - max(start, other[1])) / (max(end, other[2]) - min(start, other[1]))
            for other in free
            if other[0] == video
        }
        best = max(overlaps, key=lambda other: overlaps[other], default=None)
        hits.append(best is not None and overlaps[best] >= iou)
        if best is not None and hits[-1]:
            free.remove(best)
    precision = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits))]
    if interpolated:
        precision = [max(precision[rank:]) for rank in range(len(hits))]
    return sum(p for p, hit in zip(precision, hits, strict=True) if hit) / len(true) if true else 0.0


@pytest.mark.parametrize("published", [True, False])
def test_vadclips_figures_equal_a_plain_computation(drawn: Predictions, published: bool) -> None:
    expected = [plain(drawn, iou, published, interpolated=False) for iou in IOUS]
    found = vadclip(drawn, all_proposals(drawn), published)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert 0.05 < found[-1] < found[0] < 0.95


def test_activitynets_figures_equal_a_plain_computation(drawn: Predictions) -> None:
    found = standard(drawn, all_proposals(drawn))
    np.testing.assert_allclose(found, [plain(drawn, iou, False, interpolated=True) for iou in IOUS], rtol=1e-12)
    assert (found > vadclip(drawn, all_proposals(drawn), as_published=False)).any()  # interpolation is never lower


def test_precision_counts_at_the_ranks_of_the_hits() -> None:
    true = np.array([[0, 10], [20, 30]])
    found = Proposals(np.array([[0, 10], [12, 18], [20, 30]]), np.array([2, 0, 1]))
    by_iou = [(1 / 2 + 2 / 3) / 2, (2 / 3 + 2 / 3) / 2]
    assert average_precisions(found, true, False).tolist() == pytest.approx([by_iou[0]] * 5)
    assert average_precisions(found, true, True).tolist() == pytest.approx([by_iou[1]] * 5)
    halves = Proposals(np.array([[0, 5], [5, 10]]), np.array([0, 1]))  # the second finds its segment taken
    assert average_precisions(halves, true, False).tolist() == [0.5] * 5
    wide = Proposals(np.array([[0, 26], [26, 30]]), np.array([0, 1]))  # IoUs 10 / 26 and 6 / 30; 4 / 10 of the second
    assert average_precisions(wide, true, False).tolist() == [1, 1, 1, 0.25, 0]  # it takes one segment, not two
    assert average_precisions(found, true[:0], False).tolist() == [0] * 5


def test_proposals_are_runs_above_the_videos_own_threshold_and_at_least_two_frames_long() -> None:
    values = np.float32([0.1, 0.5, 0.5, 0.1, 0.9, 0.5, 0.1, 0.6, 0.2, 0.2, 0.2, 0.9, 0.8])
    found = proposals(values, np.array([0, 8, 11, 13]))
    # thresholds 0.42, none above in a constant video, 0.84; the runs of one frame are dropped
    assert (found.spans.tolist(), found.ranks.tolist()) == ([[1, 3], [4, 6]], [1, 0])


def test_a_class_without_proposals_takes_everything_down_as_published(drawn: Predictions) -> None:
    flat = drawn.probabilities.copy()
    flat[:, 3] = 0.5
    found = replace(drawn, probabilities=flat)
    assert not vadclip(found, all_proposals(found), as_published=True).any()
    assert vadclip(found, all_proposals(found), as_published=False).all()


def test_figures_are_means_over_the_ious_and_undefined_without_true_segments(drawn: Predictions) -> None:
    each = Table(drawn)
    for kind, expected in (("vadclip", vadclip(drawn, all_proposals(drawn), True)),
                           ("standard", standard(drawn, all_proposals(drawn)))):  # fmt: skip
        values: DoubleArray = np.array([FIGURES[f"{kind}_m_ap_iou{iou * 100:.0f}"].compute(each).value for iou in IOUS])
        np.testing.assert_array_equal(values, expected)
        assert FIGURES[f"{kind}_m_ap"].compute(each).value == pytest.approx(expected.mean())
    nothing = Table(replace(drawn, truth=np.zeros_like(drawn.truth)))
    assert FIGURES["vadclip_m_ap"].compute(nothing) is FIGURES["standard_m_ap_iou50"].compute(nothing) is None
