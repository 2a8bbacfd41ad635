"""Features of footage: those of a few videos are extracted in this process, those of many on Ray."""

import logging

import polars as pl

from anomalyclip.data.decoder import Decoder
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.features.backbone import save_backbone
from anomalyclip.features.encoder import feature_fingerprint
from anomalyclip.features.local_extraction import extract_here
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate
from anomalyclip.jobs.features import Extracted, extract_on_ray, extracted_of, obtain_features
from anomalyclip.jobs.lifecycle import stage
from anomalyclip.jobs.scored import Failure

log = logging.getLogger("anomalyclip")


def footage_features(
    job: Job, candidate: Candidate, table: pl.DataFrame, decoder: Decoder
) -> tuple[Extracted, list[Failure]]:
    """Return the features of videos, and those that could not be read; each is named with its reason.

    Raises UsageError if imported features are missing, or if frame counts of videos and annotations differ.
    """
    if candidate.imported is not None:
        return obtain_features(job, candidate.extraction, table, candidate.backbone, candidate.imported), []
    extracted = _extract(job, candidate, table, decoder)
    reasons = dict(extracted.store.quarantine().select("video", "reason").iter_rows())
    left_out = table.filter(pl.col("video_id").is_in(extracted.quarantined)).select("video_id", "source")
    return extracted, [Failure(video_id, source, reasons[source]) for video_id, source in left_out.iter_rows()]


def _extract(job: Job, candidate: Candidate, table: pl.DataFrame, decoder: Decoder) -> Extracted:
    backbone, settings, device = candidate.backbone, candidate.extraction, resolve_device()
    assert backbone is not None
    precision = resolve_precision(settings.precision, device)
    store = FeatureStore(job.storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    save_backbone(backbone, job.storage)
    with stage("extract", f"features of {table.height} videos, by {backbone.name}"):
        sources = table["source"].to_list()
        left = extract_here(sources, store, backbone, precision, device, settings, decoder, job.retry)
    if left:
        from anomalyclip import cluster  # here, since Ray takes seconds to import

        log.info("%d videos are left: more than a few minutes of work, which Ray shares out", len(left))
        cluster.connect()
        return extract_on_ray(job, settings, table, backbone)
    return extracted_of(job, settings, table, store, precision)
