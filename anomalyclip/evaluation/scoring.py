"""From stored features to the predictions table of a test set."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from anomalyclip.data.labels import frame_labels
from anomalyclip.data.manifest import annotations_digest, check_frame_counts
from anomalyclip.evaluation.predictions import Digests, VideoPrediction, write_predictions
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import bundle_digest, load_bundle


def counted(manifest: pl.DataFrame, store: FeatureStore, sampling_rate: int, frame_tolerance: int = 0) -> pl.DataFrame:
    """Return a manifest with the decoded frame counts of its videos, all of which have features in the store.

    Raises UsageError that names the three numbers where a video, its features and its annotations differ.
    """
    found = manifest.select("video_id", "source").join(store.index(), left_on="source", right_on="video")
    counts = dict(found.select("video_id", "num_frames").iter_rows())
    stored = dict(found.select("video_id", "frames").iter_rows())
    return check_frame_counts(manifest, counts, stored, sampling_rate, frame_tolerance)


def score_manifest(
    bundle: Path, manifest: pl.DataFrame, manifest_digest: str, store: FeatureStore, target: Path, device: torch.device
) -> None:
    """Score every video of a counted manifest with features in the store, and write the predictions table."""
    model, card = load_bundle(bundle)
    objects = dict(store.index().select("video", "object").iter_rows())
    digests = Digests(manifest_digest, annotations_digest(manifest), bundle_digest(bundle))
    predictions = _predictions(model.to(device), manifest, objects, store, card.sampling_rate)
    write_predictions(target, predictions, card.classes, digests)


def _predictions(
    model: AnomalyCLIP, manifest: pl.DataFrame, objects: Mapping[str, str], store: FeatureStore, sampling_rate: int
) -> Iterator[VideoPrediction]:
    for row in manifest.iter_rows(named=True):
        features = torch.from_numpy(store.read_features(objects[row["source"]]))
        scores = model.score_video(features)
        frames = row["num_frames"]
        names, truth = frame_labels(row["anomalies"], row["labels"], frames)
        yield VideoPrediction(
            row["video_id"],
            [[name for name, holds in zip(names, flags, strict=True) if holds] for flags in truth],
            _per_frame(scores.scores, sampling_rate, frames),
            _per_frame(scores.probabilities, sampling_rate, frames),
        )


def _per_frame(values: torch.Tensor, sampling_rate: int, num_frames: int) -> NDArray[np.float32]:
    """Repeat each stored feature's value over the frames that it stands for."""
    repeated: NDArray[np.float32] = values.repeat_interleave(sampling_rate, dim=0)[:num_frames].cpu().numpy()
    return repeated
