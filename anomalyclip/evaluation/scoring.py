"""Scoring: from stored features to scores per frame, and to the predictions table of a test set."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.config import DataConfig
from anomalyclip.data.labels import frame_labels, known_truth
from anomalyclip.data.manifest import annotations_digest, check_frame_counts
from anomalyclip.evaluation.crops import mean_over_crops
from anomalyclip.evaluation.new_table import NEW_TABLE, with_new_table
from anomalyclip.evaluation.parts import PartLengths, part_lengths, score_in_parts
from anomalyclip.evaluation.predictions import Digests, FrameLabels, VideoPrediction
from anomalyclip.evaluation.predictions_file import write_predictions
from anomalyclip.events.alarms import load_alarms
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.events.event import Track, even_edges, frame_edges
from anomalyclip.features.feature_file import Features
from anomalyclip.features.spacing import covering_features, frames_per_feature
from anomalyclip.features.store import FeatureStore
from anomalyclip.methods import NewNames, load_bundle, load_with_names
from anomalyclip.model.bundle import bundle_digest
from anomalyclip.model.method import Method
from anomalyclip.settings import digest

StoredScores = Callable[[str, int], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Key of an object of the store, and its number of stored frames, to their scores `(stored frames,)` and class
probabilities `(stored frames, classes)`."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model ready to score videos, and what the predictions table records of it."""

    score: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Stored features of a crop `(stored frames, dim)` to anomaly scores `(stored frames,)` and class
    probabilities `(stored frames, classes)`, all in [0, 1]; those of new classes come last."""
    classes: tuple[str, ...]
    """In the order of the probabilities, Normal among them."""
    dim: int
    """Numbers in a stored feature."""
    sampling_rate: int | None
    """Frames of the video per stored frame; None: a video's features are spread evenly over its frames."""
    segment_frames: int
    """Frames in a segment of the model, or its stored features without a sampling rate: video-level scores are means
    over segments."""
    digest: str
    """Identifies everything that decides the scores of given features."""
    operating: OperatingPoint | None = None
    """Thresholds of events; None if the model has none."""
    parts: PartLengths | None = None
    """Which videos are scored in parts; None: each as a whole."""
    new_classes: tuple[str, ...] = ()
    """Classes that nobody trained, asked for by their names."""

    def segment_length(self, num_frames: int, features: int) -> int | Fraction:
        """Return the frames in a segment of a video with so many frames and stored features."""
        if self.sampling_rate is not None:
            return self.segment_frames
        return self.segment_frames * frames_per_feature(num_frames, features, None)


def bundle_scorer(bundle: Path, device: torch.device, new: NewNames | None = None) -> Scorer:
    """Return the trained model in a folder, ready to score on a device, and `new` classes with it by their names.

    Raises UsageError if there is no model, or if it cannot recognise classes by their names.
    """
    model, card = load_bundle(bundle) if new is None else load_with_names(bundle, new)[:2]
    alarms, identity = load_alarms(bundle), bundle_digest(bundle)
    # the trained classes' figures are the same, but scores are kept by this digest
    scorer = model_scorer(model.to(device), card.sampling_rate, digest(identity, new.names) if new else identity)
    parts = part_lengths(card.lengths, card.model) if card.sampling_rate else None
    return replace(scorer, operating=alarms.point() if alarms else None, parts=parts)


def model_scorer(model: Method, sampling_rate: int | None, identity: str = "") -> Scorer:
    """Return a model in evaluation mode as what scores; one in training needs no `identity`, its digest."""

    def score(features: Tensor) -> tuple[Tensor, Tensor]:
        scores = model.score_video(features)
        return scores.scores, scores.probabilities

    dim, segment_frames = len(model.normality_prototype), model.config.frames_per_segment * (sampling_rate or 1)
    return Scorer(score, model.classes, dim, sampling_rate, segment_frames, identity, new_classes=model.new_classes)


def with_frame_counts(
    manifest: pl.DataFrame,
    store: FeatureStore,
    sampling_rate: int | None,
    frame_tolerance: int = 0,
    unknown_fps: float = DataConfig().fps,
) -> pl.DataFrame:
    """Return a manifest with the decoded frame counts of its videos, all of which have features in the store.

    A column `fps` has their frames per second, `unknown_fps` where the rate is unknown. Raises UsageError with the
    three numbers of each video whose frames, features and annotations differ.
    """
    found = manifest.select("video_id", "source").join(store.index(), left_on="source", right_on="video")
    counts = dict(found.select("video_id", "num_frames").iter_rows())
    stored = dict(found.select("video_id", "frames").iter_rows())
    checked = check_frame_counts(manifest, counts, stored, sampling_rate, frame_tolerance)
    rate = pl.when(pl.col("fps") > 0).then(pl.col("fps")).otherwise(unknown_fps)
    return checked.join(found.select("video_id", rate), on="video_id", how="left", maintain_order="left")


def score_features(
    scorer: Scorer, features: Tensor, num_frames: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score the stored features of a video `(stored frames, crops, dim)`, averaged over its crops.

    Returns the anomaly scores `(num_frames,)` and the class probabilities `(num_frames, classes)` of all frames: a
    stored frame's value applies to the frames that it stands for (`covering_features`).
    """
    return repeat_scores(scorer, *score_stored(scorer, [features.numpy()], len(features)), num_frames)


def score_stored(
    scorer: Scorer, features: Iterable[Features], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score the `count` stored features of a video, which come piece by piece `(frames, crops, dim)`.

    Crops are averaged. A video longer than those of the training is scored in overlapping parts as long as these were
    (`score_in_parts`), of which one at a time is in memory. Returns the anomaly scores `(count,)` and the class
    probabilities `(count, classes)`.
    """

    def score(part: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, probabilities = mean_over_crops(scorer.score, torch.from_numpy(part))
        return scores.cpu().numpy(), probabilities.cpu().numpy()

    if scorer.parts is not None and count > scorer.parts.longest:
        return score_in_parts(score, features, count, scorer.parts.part)
    return score(np.concatenate(list(features)))


def repeat_scores(
    scorer: Scorer, scores: NDArray[np.float32], probabilities: NDArray[np.float32], num_frames: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scores of stored frames for all frames of the video: each applies to the frames that it stands for."""
    if len(scores) == num_frames:
        return scores, probabilities
    length = frames_per_feature(num_frames, len(scores), scorer.sampling_rate)
    stored = covering_features(num_frames, len(scores), length)
    return scores[stored], probabilities[stored]


def score_tracks(
    scorer: Scorer, manifest: pl.DataFrame, store: FeatureStore, scores: StoredScores | None = None
) -> Iterator[Track]:
    """Score every video of a with_frame_counts manifest with features in the store; yields its scores over time.

    `scores` returns those of an object of the store; by default they are computed.
    """
    scores = scores or (lambda key, count: score_stored(scorer, store.iterate(key), count))
    objects = {video: (key, count) for video, key, count in store.index().select("video", "object", "frames").rows()}
    for row in manifest.iter_rows(named=True):
        key, count = objects[row["source"]]
        found, probabilities = repeat_scores(scorer, *scores(key, count), row["num_frames"])
        trained, new = np.split(probabilities, [len(scorer.classes)], axis=1)
        by_name = dict(zip(scorer.new_classes, new.T, strict=True))
        timing = store.timing(key)
        times = even_edges(row["num_frames"], row["fps"])[:-1] if timing.times is None else timing.times
        started = _started(row) or timing.started
        yield Track(row["video_id"], scorer.classes, found, trained, frame_edges(times), started, by_name)


def _started(row: Mapping[str, Any]) -> datetime | None:
    started = row.get("started")
    return datetime.fromisoformat(started) if started else None


def score_manifest(
    scorer: Scorer, manifest: pl.DataFrame, manifest_digest: str, store: FeatureStore, target: Path
) -> None:
    """Score every video of a with_frame_counts manifest with features in the store, and write the predictions table.

    The table of new classes, if the scorer has any, is written beside it.
    """
    tracks = with_new_table(target.with_name(NEW_TABLE), scorer.new_classes, score_tracks(scorer, manifest, store))
    write_tracks(scorer, manifest, manifest_digest, store, tracks, target)


def write_tracks(
    scorer: Scorer,
    manifest: pl.DataFrame,
    manifest_digest: str,
    store: FeatureStore,
    tracks: Iterable[Track],
    target: Path,
) -> None:
    """Write the predictions table of the scores of a manifest's videos (`score_tracks`), as they come."""
    counts = store.index().filter(pl.col("video").is_in(manifest["source"].implode()))["frames"]
    snippets = None if scorer.sampling_rate else int(counts[0])  # an import has the same number for all videos
    digests = Digests(manifest_digest, annotations_digest(manifest), scorer.digest)
    rows = manifest.with_columns(known=known_truth().fill_null(False)).iter_rows(named=True)  # null: no labels known
    predictions = (_with_truth(row, track) for row, track in zip(rows, tracks, strict=True))
    sizes = scorer.segment_frames, snippets
    write_predictions(target, predictions, scorer.classes, digests, *sizes, scorer.operating)


def _with_truth(row: Mapping[str, Any], track: Track) -> VideoPrediction:
    labels = None
    if row["known"]:
        labels = _label_lists(*frame_labels(row["anomalies"], row["labels"], row["num_frames"]))
    times = track.edges[:-1]
    return VideoPrediction(row["video_id"], row["labels"], labels, track.scores, track.probabilities, times)


def _label_lists(names: Sequence[str], truth: NDArray[np.bool_]) -> FrameLabels:
    """Return the labels of each frame, from which of the names it has `(frames, names)`."""
    rows, places = np.unique(truth @ (1 << np.arange(len(names))), return_inverse=True)
    lists = [[name for place, name in enumerate(names) if code >> place & 1] for code in rows.tolist()]
    return FrameLabels(lists, places)
