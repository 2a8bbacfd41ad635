"""From stored features to the predictions table of a test set."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from anomalyclip.data.labels import frame_labels
from anomalyclip.data.manifest import annotations_digest, check_frame_counts, manifest_digest
from anomalyclip.evaluation.predictions import Digests, VideoPrediction, write_predictions
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import bundle_digest, load_bundle


def score_manifest(
    bundle: Path,
    manifest: pl.DataFrame,
    store: FeatureStore,
    target: Path,
    frame_tolerance: int = 0,
    device: torch.device | None = None,
) -> pl.DataFrame:
    """Score every video of a manifest with features in the store, and write the predictions table.

    Returns the manifest with the decoded frame counts. Raises UsageError, before anything is scored, where the
    frame counts of a video, its features and its annotations differ.
    """
    model, card = load_bundle(bundle)
    model.to(device or torch.device("cpu"))
    found = manifest.select("video_id", "source").join(store.index(), left_on="source", right_on="video")
    counts = dict(found.select("video_id", "num_frames").iter_rows())
    stored = dict(found.select("video_id", "frames").iter_rows())
    objects = dict(found.select("video_id", "object").iter_rows())
    checked = check_frame_counts(manifest, counts, stored, card.sampling_rate, frame_tolerance)
    digests = Digests(manifest_digest(manifest), annotations_digest(checked), bundle_digest(bundle))
    predictions = _predictions(model, checked, objects, store, card.sampling_rate)
    write_predictions(target, predictions, card.classes, digests)
    return checked


def _predictions(
    model: AnomalyCLIP, manifest: pl.DataFrame, objects: Mapping[str, str], store: FeatureStore, sampling_rate: int
) -> Iterator[VideoPrediction]:
    for row in manifest.iter_rows(named=True):
        features = torch.from_numpy(store.read_features(objects[row["video_id"]]))
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
