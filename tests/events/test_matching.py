"""Matching of events: overlap in time, and who takes whom."""

import numpy as np

from anomalyclip.events.detection import DoubleArray
from anomalyclip.events.matching import NONE, match_in_order, overlaps


def spans(*pairs: tuple[float, float]) -> DoubleArray:
    return np.array(pairs, np.float64).reshape(-1, 2)


def test_overlap_is_the_common_time_in_the_time_of_both() -> None:
    found = overlaps(spans((0, 4), (10, 12)), spans((2, 6), (4, 8), (10, 12), (0, 16)))
    np.testing.assert_allclose(found, [[2 / 6, 0, 0, 4 / 16], [0, 0, 1, 2 / 16]])
    assert overlaps(spans(), spans((0, 1))).shape == (0, 1)


def test_true_events_in_order_take_the_free_prediction_with_the_highest_overlap() -> None:
    iou = np.array([[0.4, 0.6, 0.0], [0.3, 0.9, 0.2]])
    # the first takes the second prediction, although the second true event fits it better
    assert match_in_order(iou, 0.3).tolist() == [1, 0]
    assert match_in_order(iou, 0.31).tolist() == [1, NONE]
    assert match_in_order(iou[::-1], 0.3).tolist() == [1, 0]


def test_an_overlap_of_exactly_the_least_is_enough() -> None:
    tenths = np.arange(100) / 10
    found = [overlaps(spans((tenths[at], tenths[at + 10])), spans((tenths[at], tenths[at + 3]))) for at in range(80)]
    assert all(match_in_order(iou, 0.3).tolist() == [0] for iou in found)


def test_without_predictions_nothing_matches() -> None:
    assert match_in_order(np.empty((2, 0)), 0.1).tolist() == [NONE, NONE]
    assert match_in_order(np.empty((0, 3)), 0.1).tolist() == []
