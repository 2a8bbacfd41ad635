"""Scoring: from stored features to scores per frame, and to the predictions table of a test set."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.data.labels import frame_labels, known_truth
from anomalyclip.data.manifest import annotations_digest, check_frame_counts
from anomalyclip.evaluation.crops import mean_over_crops
from anomalyclip.evaluation.predictions import Digests, VideoPrediction, write_predictions
from anomalyclip.features.store import FeatureStore
from anomalyclip.methods import load_bundle
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.model.method import Method


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model ready to score videos, and what the predictions table records of it."""

    score: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Stored features of a crop `(stored frames, dim)` to anomaly scores `(stored frames,)` and class
    probabilities `(stored frames, classes)`, all in [0, 1]."""
    classes: tuple[str, ...]
    """In the order of the probabilities, Normal among them."""
    dim: int
    """Numbers in a stored feature."""
    sampling_rate: int
    """Frames of the video per stored frame."""
    segment_frames: int
    """Frames in a segment of the model: video-level scores are means over segments."""
    digest: str
    """Identifies everything that decides the scores of given features."""


def bundle_scorer(bundle: Path, device: torch.device) -> Scorer:
    """Return the trained model in a folder, ready to score on a device; raises UsageError if there is none."""
    model, card = load_bundle(bundle)
    return model_scorer(model.to(device), card.sampling_rate, bundle_digest(bundle))


def model_scorer(model: Method, sampling_rate: int, digest: str = "") -> Scorer:
    """Return a model in evaluation mode as what scores; one in training needs no `digest`."""

    def score(features: Tensor) -> tuple[Tensor, Tensor]:
        scores = model.score_video(features)
        return scores.scores, scores.probabilities

    dim, segment_frames = len(model.normality_prototype), model.config.frames_per_segment * sampling_rate
    return Scorer(score, model.classes, dim, sampling_rate, segment_frames, digest)


def with_frame_counts(
    manifest: pl.DataFrame, store: FeatureStore, sampling_rate: int, frame_tolerance: int = 0
) -> pl.DataFrame:
    """Return a manifest with the decoded frame counts of its videos, all of which have features in the store.

    Raises UsageError with the three numbers of each video whose frames, features and annotations differ.
    """
    found = manifest.select("video_id", "source").join(store.index(), left_on="source", right_on="video")
    counts = dict(found.select("video_id", "num_frames").iter_rows())
    stored = dict(found.select("video_id", "frames").iter_rows())
    return check_frame_counts(manifest, counts, stored, sampling_rate, frame_tolerance)


def score_features(
    scorer: Scorer, features: Tensor, num_frames: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score the stored features of a video `(stored frames, crops, dim)`, averaged over its crops.

    Returns the anomaly scores `(num_frames,)` and the class probabilities `(num_frames, classes)` of all frames: a
    stored frame's value applies to the frames up to the next stored one, the last one's for all that remain.
    """
    scores, probabilities = mean_over_crops(scorer.score, features)
    stored = (torch.arange(num_frames) // scorer.sampling_rate).clamp(max=len(features) - 1)
    return scores.cpu()[stored].numpy(), probabilities.cpu()[stored].numpy()


def score_manifest(
    scorer: Scorer, manifest: pl.DataFrame, manifest_digest: str, store: FeatureStore, target: Path
) -> None:
    """Score every video of a with_frame_counts manifest with features in the store, and write the predictions table."""
    objects = dict(store.index().select("video", "object").iter_rows())
    digests = Digests(manifest_digest, annotations_digest(manifest), scorer.digest)
    predictions = _predictions(scorer, manifest, objects, store)
    write_predictions(target, predictions, scorer.classes, digests, scorer.segment_frames)


def _predictions(
    scorer: Scorer, manifest: pl.DataFrame, objects: Mapping[str, str], store: FeatureStore
) -> Iterator[VideoPrediction]:
    for row in manifest.with_columns(known=known_truth()).iter_rows(named=True):
        features = torch.from_numpy(store.read_features(objects[row["source"]]))
        frames = row["num_frames"]
        labels = None
        if row["known"]:
            names, truth = frame_labels(row["anomalies"], row["labels"], frames)
            labels = [[name for name, holds in zip(names, flags, strict=True) if holds] for flags in truth]
        scored = score_features(scorer, features, frames)
        yield VideoPrediction(row["video_id"], row["labels"], labels, *scored)
