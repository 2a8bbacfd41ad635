"""Matching of predicted events with true ones by how far they overlap in time."""

import numpy as np
from numpy.typing import NDArray

from anomalyclip.events.detection import DoubleArray

EXACT = 1e-9
"""Of an IoU: times in seconds are not exact in binary."""
NONE = -1
"""Instead of a position: there is no match."""


def overlaps(true: DoubleArray, predicted: DoubleArray) -> DoubleArray:
    """Return the temporal IoU `(true, predicted)` of spans `(true, 2)` and `(predicted, 2)`, each [start, end)."""
    starts = np.maximum(true[:, None, 0], predicted[None, :, 0])
    ends = np.minimum(true[:, None, 1], predicted[None, :, 1])
    common = np.maximum(ends - starts, 0)
    lengths = (true[:, 1] - true[:, 0])[:, None] + (predicted[:, 1] - predicted[:, 0])[None, :]
    return np.asarray(common / (lengths - common), dtype=np.float64)


def match_in_order(iou: DoubleArray, least: float) -> NDArray[np.int64]:
    """Return for each true event the position of the predicted event that it takes, or NONE.

    `iou` is (true, predicted). True events in order take the free predicted event with the highest IoU, if it is at
    least `least`; of equal ones the first.
    """
    taken = np.full(len(iou), NONE, dtype=np.int64)
    free = iou.copy()
    for true in range(len(iou) if iou.size else 0):
        best = int(free[true].argmax())
        if free[true, best] >= least - EXACT:
            taken[true] = best
            free[:, best] = -1.0
    return taken
