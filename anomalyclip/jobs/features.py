"""Features of a manifest's videos: imported ones, or extracted if they are missing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.config import ExtractionConfig, Precision
from anomalyclip.data.splits import check_contents, warn_of_repeats
from anomalyclip.errors import UsageError, first_names
from anomalyclip.evaluation.scoring import with_frame_counts
from anomalyclip.features.backbone import Backbone, save_backbone
from anomalyclip.features.imported import require_import
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs.lifecycle import stage
from anomalyclip.settings import digest

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Extracted:
    """The features of a manifest's videos."""

    store: FeatureStore
    manifest: pl.DataFrame
    """Less the videos in quarantine, with the frame counts of the decoded videos."""
    quarantined: list[str]
    """Ids of the videos that could not be decoded."""
    precision: Precision
    """Of the image tower that made the features; `auto` if unknown."""

    def digest(self) -> str:
        """Return a digest of these videos' features: their contents, and what made them."""
        return digest(self.store.fingerprint, sorted(self._contents().iter_rows()))

    def needs(self, manifest_path: Path | None, backbone: str | None) -> dict[str, Any]:
        """Return what a run on these features needs of the storage root, for housekeeping to keep."""
        return {
            "fingerprint": self.store.fingerprint,
            "backbone": backbone,
            "manifest": str(manifest_path.resolve()) if manifest_path else None,
            "objects": self._contents()["hash"].unique().sort().to_list(),
        }

    def _contents(self) -> pl.DataFrame:
        """Return the columns `video_id` and `hash`, that of the video's content."""
        index = self.store.index().select(pl.col("video").alias("source"), "hash")
        return self.manifest.join(index, on="source").select("video_id", "hash")


def obtain_features(
    job: Job, settings: ExtractionConfig, manifest: pl.DataFrame, backbone: Backbone | None, imported: str | None
) -> Extracted:
    """Return a manifest's features: those of an import name, or extracted ones, made now if they are missing.

    Raises UsageError if imported ones are missing, if frame counts of videos and annotations differ, or if videos of
    the same content are in two splits.
    """
    if imported is None:
        assert backbone is not None
        with stage("extract", f"features of {manifest.height} videos, by {backbone.name}"):
            extracted = extract_on_ray(job, settings, manifest, backbone)
    else:
        extracted = _imported(job, settings, manifest, backbone, imported)
    index = extracted.store.index()
    check_contents(extracted.manifest, index)
    warn_of_repeats(extracted.manifest, index)
    return extracted


def _imported(
    job: Job, settings: ExtractionConfig, manifest: pl.DataFrame, backbone: Backbone | None, imported: str
) -> Extracted:
    """Return the features of an import name, and store the backbone whose text tower belongs to them."""
    log.warning("imported features %s: nothing proves which model made them", imported)
    if backbone is not None:
        save_backbone(backbone, job.storage)
    store = imported_store(job, manifest, imported)
    data = job.config.data
    checked = with_frame_counts(manifest, store, settings.sampling_rate, data.frame_tolerance, data.fps)
    return Extracted(store, checked, [], "auto")


def imported_store(job: Job, manifest: pl.DataFrame, name: str) -> FeatureStore:
    """Return the store of the features of an import name.

    Raises UsageError if a video has none, or if features of the same content are in two splits.
    """
    store = FeatureStore(job.storage, require_import(job.storage, name).fingerprint)
    if absent := store.without_features(manifest):
        names, count = first_names(absent), f"{len(absent)} of {manifest.height}"
        raise UsageError(f"{count} videos have no imported features {name}: {names}; import them")
    check_contents(manifest, store.index())
    return store


def extract_on_ray(job: Job, settings: ExtractionConfig, manifest: pl.DataFrame, backbone: Backbone) -> Extracted:
    """Extract what is missing on the job's cluster, and leave out the videos that cannot be decoded."""
    from anomalyclip.features.ray_extraction import extract_missing  # here, since Ray takes seconds to import

    config = job.config.model_copy(update={"extraction": settings})
    report = extract_missing(manifest, config, job.storage, job.retry, backbone)
    return extracted_of(job, settings, manifest, FeatureStore(job.storage, report.fingerprint), report.precision)


def extracted_of(
    job: Job, settings: ExtractionConfig, manifest: pl.DataFrame, store: FeatureStore, precision: Precision
) -> Extracted:
    """Return what an extraction of a manifest's videos has left in the store; logs the reason of each failure.

    Raises UsageError if frame counts of videos and annotations differ.
    """
    reasons = store.quarantine().select(pl.col("video").alias("source"), "reason")
    left_out = manifest.join(reasons, on="source")
    for video_id, reason in left_out.select("video_id", "reason").iter_rows():
        log.warning("left out: video %s: %s", video_id, reason)
    left = manifest.join(reasons, on="source", how="anti")
    data = job.config.data
    checked = with_frame_counts(left, store, settings.sampling_rate, data.frame_tolerance, data.fps)
    return Extracted(store, checked, left_out["video_id"].to_list(), precision)


def warn_of_unknown(classes: Sequence[str]) -> None:
    """Log a warning about classes that occur in the test part only."""
    if classes:
        log.warning(
            "classes that occur in the test part only: %s; their frames count as anomalous, but they have no "
            "figures of their own",
            ", ".join(classes),
        )
