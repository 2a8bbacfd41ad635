"""Extraction of the videos of a manifest to stored features; those stored already are skipped."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from anomalyclip.errors import JobError
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.estimate import ExtractionEstimate, estimate
from anomalyclip.features.ray_extraction import ExtractionReport, extract_missing
from anomalyclip.job import Job
from anomalyclip.jobs.sources import Source, load_source
from anomalyclip.runs import RESULT

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Extraction:
    """A checked extraction."""

    source: Source
    backbone: Backbone


def prepare(job: Job, manifest: Path) -> Extraction:
    """Check everything that can be wrong before work starts; raises UsageError."""
    return Extraction(load_source(job, manifest), load_backbone(job.config.backbone))


def dry_run(job: Job, prepared: Extraction) -> ExtractionEstimate:
    """Log and return the remaining work and its time, without starting it."""
    expected = estimate(prepared.source.table, job.config, job.storage, prepared.backbone, job.retry)
    log.info("%s", expected)
    return expected


def run(job: Job, prepared: Extraction) -> ExtractionReport:
    """Extract what is missing; raises JobError if no video could be read."""
    table, backbone = prepared.source.table, prepared.backbone
    report = extract_missing(table, job.config, job.storage, retry=job.retry, backbone=backbone)
    if report.quarantined == report.videos:
        raise JobError(f"none of the {report.videos} videos could be read; reasons: {report.quarantine}")
    reasons = f" (reasons: {report.quarantine})" if report.quarantined else ""
    log.info(
        "%d videos: %d extracted, %d stored before, %d quarantined (of them %d killed)%s",
        report.videos, report.extracted, report.skipped, report.quarantined, report.killed, reasons,
    )  # fmt: skip
    log.info("features: %s", report.objects)
    job.storage.write_json(f"features/{report.fingerprint}/{RESULT}", asdict(report))
    if report.killed:
        raise JobError(
            f"the decoders of {report.killed} of {report.videos} videos were killed, perhaps for want of memory: "
            "--retry tries them again",
            report,
        )
    return report
