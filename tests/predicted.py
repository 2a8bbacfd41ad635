"""Predictions tables made in memory."""

from typing import Any

import numpy as np

from anomalyclip.evaluation.predictions import Digests, Predictions


def in_memory(**fields: Any) -> Predictions:
    """A table of these fields; the truth of videos is that of their frames, which are all known, if not given."""
    offsets, truth = np.asarray(fields["offsets"], dtype=np.int64), fields["truth"]
    default = {
        "video_ids": tuple(f"v{number}" for number in range(len(offsets) - 1)),
        "video_truth": np.logical_or.reduceat(truth, offsets[:-1], axis=0),
        "known": np.ones(len(offsets) - 1, dtype=np.bool_),
        "digests": Digests("m", "a", "x"),
        "segment_frames": 16,
    }
    return Predictions(**{**default, **fields, "offsets": offsets})
