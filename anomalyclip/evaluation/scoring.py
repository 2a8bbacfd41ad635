"""From stored features to the predictions table of a test set."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.data.labels import frame_labels
from anomalyclip.data.manifest import annotations_digest, check_frame_counts
from anomalyclip.evaluation.crops import mean_over_crops
from anomalyclip.evaluation.predictions import Digests, VideoPrediction, write_predictions
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.bundle import bundle_digest, load_bundle


@dataclass(frozen=True, eq=False)
class Scorer:
    """What scores videos, and what the predictions table says of it."""

    score: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Stored features of a crop `(stored frames, dim)` to anomaly scores `(stored frames,)` and class
    probabilities `(stored frames, classes)`, all in [0, 1]."""
    classes: tuple[str, ...]
    """In the order of the probabilities, Normal among them."""
    sampling_rate: int
    """Frames a stored one stands for."""
    digest: str
    """Names everything that decides the scores of given features."""


def bundle_scorer(bundle: Path, device: torch.device) -> Scorer:
    """Return the trained model in a folder, ready to score on a device; raises UsageError if there is none."""
    model, card = load_bundle(bundle)
    model.to(device)

    def score(features: Tensor) -> tuple[Tensor, Tensor]:
        scores = model.score_video(features)
        return scores.scores, scores.probabilities

    return Scorer(score, card.classes, card.sampling_rate, bundle_digest(bundle))


def counted(manifest: pl.DataFrame, store: FeatureStore, sampling_rate: int, frame_tolerance: int = 0) -> pl.DataFrame:
    """Return a manifest with the decoded frame counts of its videos, all of which have features in the store.

    Raises UsageError that names the three numbers where a video, its features and its annotations differ.
    """
    found = manifest.select("video_id", "source").join(store.index(), left_on="source", right_on="video")
    counts = dict(found.select("video_id", "num_frames").iter_rows())
    stored = dict(found.select("video_id", "frames").iter_rows())
    return check_frame_counts(manifest, counts, stored, sampling_rate, frame_tolerance)


def score_manifest(
    scorer: Scorer, manifest: pl.DataFrame, manifest_digest: str, store: FeatureStore, target: Path
) -> None:
    """Score every video of a counted manifest with features in the store, and write the predictions table."""
    objects = dict(store.index().select("video", "object").iter_rows())
    digests = Digests(manifest_digest, annotations_digest(manifest), scorer.digest)
    write_predictions(target, _predictions(scorer, manifest, objects, store), scorer.classes, digests)


def _predictions(
    scorer: Scorer, manifest: pl.DataFrame, objects: Mapping[str, str], store: FeatureStore
) -> Iterator[VideoPrediction]:
    for row in manifest.iter_rows(named=True):
        features = torch.from_numpy(store.read_features(objects[row["source"]]))
        scores, probabilities = mean_over_crops(scorer.score, features)
        frames = row["num_frames"]
        names, truth = frame_labels(row["anomalies"], row["labels"], frames)
        yield VideoPrediction(
            row["video_id"],
            [[name for name, holds in zip(names, flags, strict=True) if holds] for flags in truth],
            per_frame(scores, scorer.sampling_rate, frames),
            per_frame(probabilities, scorer.sampling_rate, frames),
        )


def per_frame(values: Tensor, sampling_rate: int, num_frames: int) -> NDArray[np.float32]:
    """Return each stored frame's value `(stored frames, ...)` for every frame it stands for, the last for the rest."""
    stored = (torch.arange(num_frames) // sampling_rate).clamp(max=len(values) - 1)
    repeated: NDArray[np.float32] = values.cpu()[stored].numpy()
    return repeated
