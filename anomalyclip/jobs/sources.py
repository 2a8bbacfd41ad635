"""Manifest of a command: the user's own, or that of the drawn benchmark."""

import logging
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from anomalyclip.data.manifest import load_manifest, manifest_digest
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.presets import BENCHMARK, names_benchmark
from anomalyclip.storage import Storage, scratch

log = logging.getLogger("anomalyclip")


@dataclass(frozen=True)
class Source:
    """A manifest that was read and checked."""

    path: Path
    table: pl.DataFrame
    digest: str
    """SHA-256 of its content."""
    is_benchmark: bool
    """Whether its videos are the drawn ones."""

    @property
    def dataset(self) -> str:
        """Name of the data: `benchmark`, the folder's for a file called `manifest` or `videos`, else the file's own."""
        path = self.path.resolve()
        if self.is_benchmark:
            return BENCHMARK
        return path.parent.name if path.stem in ("manifest", "videos") else path.stem

    def tags(self) -> dict[str, str]:
        """Return the tags of MLflow runs on it."""
        drawn = {"demonstration": "true"} if self.is_benchmark else {}
        return {"dataset": self.dataset, "manifest_digest": self.digest, **drawn}

    def test_part(self, purpose: str) -> pl.DataFrame:
        """Return the test rows; raises UsageError if there are none to `purpose`."""
        test = self.table.filter(pl.col("split") == "test")
        if test.is_empty():
            raise UsageError(f"manifest {self.path} has no rows of split test to {purpose}")
        return test


def load_source(job: Job, manifest: Path | None, frame_tolerance: int | None = None) -> Source:
    """Read and check a manifest; none, or the name `benchmark`, is the drawn one; raises UsageError.

    `frame_tolerance` replaces that of the job's configuration.
    """
    tolerance = job.config.data.frame_tolerance if frame_tolerance is None else frame_tolerance
    is_benchmark = names_benchmark(manifest)
    path = drawn_manifest(job.storage) if is_benchmark or manifest is None else manifest
    table = load_manifest(path, tolerance, job.config.data.buckets)
    return Source(path, table, manifest_digest(table), is_benchmark)


def drawn_manifest(storage: Storage) -> Path:
    """Return the manifest of the benchmark, after drawing those of its videos that are missing."""
    # imported here only: no other code of a user's job depends on the benchmark's
    from anomalyclip.benchmark.footage.videos import draw_benchmark

    folder = Path(storage.path(BENCHMARK)) if storage.is_local else scratch() / BENCHMARK
    log.info("the benchmark's videos, drawn if missing: %s", folder)
    return draw_benchmark(folder)
