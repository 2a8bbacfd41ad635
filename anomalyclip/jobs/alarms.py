"""Table of false alarms of a model: made from normal videos, kept beside its card, and shown with its version."""

import logging
from pathlib import Path

import polars as pl

from anomalyclip.config import EventsConfig
from anomalyclip.data.splits import with_validation
from anomalyclip.device import resolve_device
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import bundle_scorer, score_tracks
from anomalyclip.events.alarms import AlarmTable, count_alarms, save_alarms
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job

log = logging.getLogger("anomalyclip")


def normal_videos(manifest: pl.DataFrame, split: str) -> pl.DataFrame:
    """Return the videos of a split that have no labels."""
    return manifest.filter((pl.col("split") == split) & (pl.col("labels").list.len() == 0))


def held_out_normal(job: Job, manifest: pl.DataFrame) -> pl.DataFrame | None:
    """Return the normal videos that a training on the manifest would hold out, as split `val`; None without any."""
    training = job.config.training
    try:
        planned = with_validation(manifest, training.validation_fraction, training.seed)
    except UsageError:  # a manifest of test videos alone
        planned = manifest
    normal = normal_videos(planned, "val")
    if normal.is_empty():
        log.warning("no table of false alarms: the manifest has no normal videos but for the test")
    return None if normal.is_empty() else normal


def keep_alarms(
    bundle: Path, scored_by: Path, normal: pl.DataFrame, store: FeatureStore, settings: EventsConfig, held_out: bool
) -> AlarmTable | None:
    """Count the alarms on normal videos (a with_frame_counts manifest), and keep the table in a model's folder.

    `scored_by` is the folder of the model whose scores count; `held_out` says that it was not trained on these videos.
    Returns the table; None without a normal video.
    """
    table = count_alarms(score_tracks(bundle_scorer(scored_by, resolve_device()), normal, store), settings, held_out)
    if table is None:
        log.warning("no normal video was held out: the model has no table of false alarms, and so no threshold")
        return None
    save_alarms(bundle, table)
    for per_hour in (settings.detections_per_hour, settings.alerts_per_hour):
        log.info("%s", table.choose(per_hour).sentence())
    return table


def alarm_tags(table: AlarmTable | None) -> dict[str, str]:
    """Return the tags of a run or a version that say at which thresholds its model works, and what vouches for them."""
    if table is None:
        return {}
    point, choice = table.point(), table.own_choice()
    return {
        "detection_threshold": f"{point.detection:.6g}",
        "alert_threshold": f"{point.alert:.6g}",
        "operating_point": choice.sentence(),
    }
