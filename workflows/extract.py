"""Turn the videos of a manifest into stored features; what is there already is left alone."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalyclip import cli, cluster
from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import JobError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.estimate import estimate
from anomalyclip.features.ray_extraction import extract_missing

log = logging.getLogger("anomalyclip")


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Extract, or with --dry-run only estimate; returns the figures of the last line."""
    command = cli.parser(__doc__, "python workflows/extract.py data/videos.csv --preset ucf-crime")
    cli.add_config_options(command)
    command.add_argument("manifest", type=Path, help="CSV or Parquet table of the videos")
    command.add_argument("--dry-run", action="store_true", help="say what there is to do and what it takes")
    command.add_argument("--retry", action="store_true", help="try quarantined videos again")
    options = command.parse_args(arguments)

    job = cli.resolve(options)
    manifest = load_manifest(options.manifest, job.config.data.frame_tolerance)
    backbone = load_backbone(job.config.backbone)

    if options.dry_run:
        expected = estimate(manifest, job.config, job.storage, backbone, options.retry)
        log.info("%s", expected)
        return asdict(expected)

    cluster.connect()
    report = extract_missing(manifest, job.config, job.storage, retry=options.retry, backbone=backbone)

    if report.quarantined == report.videos:
        raise JobError(f"none of the {report.videos} videos could be read; reasons: {report.quarantine}")
    log.info("features: %s", report.objects)
    log.info(
        "%d videos: %d extracted, %d there before, %d quarantined%s",
        report.videos,
        report.extracted,
        report.skipped,
        report.quarantined,
        f" (reasons: {report.quarantine})" if report.quarantined else "",
    )
    return asdict(report)


if __name__ == "__main__":
    cli.run(main)
