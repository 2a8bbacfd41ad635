"""Thresholds for live scores: their false alarms on footage that is known to be normal."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from anomalyclip.config import EventsConfig
from anomalyclip.evaluation.scoring import bundle_scorer, score_tracks
from anomalyclip.events.alarms import AlarmTable, count_alarms
from anomalyclip.features.store import FeatureStore
from anomalyclip.live.layouts import Layout
from anomalyclip.live.scorer import LiveScorer, live_scorer
from anomalyclip.live.window import Pushed


def live_alarms(
    bundle: Path,
    normal: pl.DataFrame,
    store: FeatureStore,
    settings: EventsConfig,
    held_out: bool,
    device: torch.device,
    layout: Layout | None = None,
) -> AlarmTable | None:
    """Return a model's table of false alarms as `count_alarms` does, with the scores that a live camera would get.

    Windows move many times more often than offline, so it takes as much longer.

    Args:
        bundle: folder of the model.
        normal: normal videos, a with_frame_counts manifest; None is returned without any.
        store: has their features.
        settings: durations of events.
        held_out: whether the model has not seen these videos in training.
        device: scores on it.
        layout: the model's default if not given.
    """
    scorer = live_scorer(bundle, device, layout)

    def scores(key: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return _live_scores(scorer, store, key, count)

    return count_alarms(score_tracks(bundle_scorer(bundle, device), normal, store, scores), settings, held_out)


def _live_scores(
    scorer: LiveScorer, store: FeatureStore, key: str, count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scores `(count,)` and class probabilities `(count, classes)` of a video that is shown to a camera."""
    numbers, parts, done = np.arange(count), [], 0
    for features in store.iterate(key):
        rows = slice(done, done + len(features))
        parts.append(scorer.push({key: Pushed(features, numbers[rows].astype(np.float64), numbers[rows])})[key])
        done = rows.stop
    parts.append(scorer.forget(key))
    return np.concatenate([each.scores for each in parts]), np.concatenate([each.probabilities for each in parts])
