"""The videos of a manifest to stored features; what is there already is left alone."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalyclip import cli
from anomalyclip.errors import JobError


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Extract the features of a manifest's videos, or with `--dry-run` only say what there is to do."""
    command = cli.parser(
        "Turn the videos of a manifest into stored features. Run again, it does only what is missing or changed.",
        "python workflows/extract.py videos/manifest.csv --dry-run",
    )
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="CSV or Parquet table of the videos")
    command.add_argument("--dry-run", action="store_true", help="say what there is to do and what it takes")
    command.add_argument("--retry", action="store_true", help="try quarantined videos again")
    cli.add_config_options(command)
    arguments = command.parse_args(argv)
    job = cli.resolve(arguments)

    from anomalyclip import cluster  # after parsing: its libraries take seconds to import
    from anomalyclip.data.manifest import load_manifest
    from anomalyclip.features.backbone import load_backbone
    from anomalyclip.features.estimate import estimate
    from anomalyclip.features.ray_extraction import extract_missing

    manifest = load_manifest(arguments.manifest, job.config.data.frame_tolerance)
    backbone = load_backbone(job.config.backbone)
    if arguments.dry_run:
        expected = estimate(manifest, job.config, job.storage, backbone, arguments.retry)
        cli.log.info("%s", expected)
        return asdict(expected)

    cluster.connect()
    report = extract_missing(manifest, job.config, job.storage, retry=arguments.retry, backbone=backbone)
    if report.quarantined == report.videos:
        raise JobError(f"none of the {report.videos} videos could be read; reasons: {report.quarantine}")
    reasons = f" (reasons: {report.quarantine})" if report.quarantined else ""
    cli.log.info(
        "%d videos: %d extracted, %d there before, %d quarantined%s",
        report.videos, report.extracted, report.skipped, report.quarantined, reasons,
    )  # fmt: skip
    cli.log.info("features: %s", report.objects)
    job.storage.write_json(f"features/{report.fingerprint}/result.json", asdict(report))
    return asdict(report)


if __name__ == "__main__":
    cli.run(main)
