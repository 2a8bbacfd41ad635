"""Import of features from NumPy files into the feature store."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalyclip.errors import UsageError, first_names
from anomalyclip.importing.numpy_features import ImportReport, ImportSettings, import_features
from anomalyclip.job import Job
from anomalyclip.jobs.sources import Source, load_source

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class FeatureImport:
    """A checked import, except for the content of the files."""

    source: Source
    folders: Sequence[Path]
    settings: ImportSettings


def prepare(job: Job, manifest: Path, folders: Sequence[Path], settings: ImportSettings) -> FeatureImport:
    """Check manifest and folders; raises UsageError."""
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise UsageError(f"no such folder: {', '.join(missing)}")
    return FeatureImport(load_source(job, manifest), folders, settings)


def run(job: Job, prepared: FeatureImport) -> ImportReport:
    """Import the features of all videos, or none; raises UsageError with all faults."""
    report = import_features(prepared.source.table, prepared.folders, prepared.settings, job.storage)
    log.warning("imported features %s: nothing proves which model made them", report.name)
    if left := report.without_features:
        log.warning("%d videos have no features yet: %s", len(left), first_names(left))
    log.info("%d videos have imported features %s: %s", report.videos, report.name, report.features)
    return report
