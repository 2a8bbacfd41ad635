"""Manifest of a dataset on disk: the adapter that makes it, and the file."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from anomalyclip.data.datasets.folder import folder
from anomalyclip.data.datasets.official import official
from anomalyclip.data.datasets.official_lists import DATASETS
from anomalyclip.data.datasets.ped2 import ped2
from anomalyclip.data.datasets.result import DatasetManifest
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.manifest_files import suffix_of
from anomalyclip.errors import MOST_NAMED, UsageError

log = logging.getLogger("anomalyclip")


class Adapter(NamedTuple):
    """A function that makes a dataset's manifest from its root, and the options that it takes."""

    make: Callable[..., DatasetManifest]
    options: tuple[str, ...]


ADAPTERS = {
    **{name: Adapter(partial(official, name), ("frame_tolerance", "check", "allow_missing")) for name in DATASETS},
    "ped2": Adapter(ped2, ("seed",)),
    "folder": Adapter(folder, ("frame_tolerance", "seed", "skip_bad")),
}
FLAGS = {
    "frame_tolerance": "--frame-tolerance",
    "seed": "--seed",
    "check": "--no-check",
    "allow_missing": "--allow-missing",
    "skip_bad": "--skip-bad",
}


def make_manifest(dataset: str, root: Path, output: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a dataset's folder and return its contents; if the tree has a fault, nothing is written.

    `options` are those that the user gave. Without `output` it is `root/manifest.csv`. Raises UsageError.
    """
    adapter = ADAPTERS[dataset]
    if unused := [name for name in options if name not in adapter.options]:
        raise UsageError(f"{dataset} does not use {', '.join(FLAGS[name] for name in unused)}")
    if (tolerance := options.get("frame_tolerance", 0)) < 0:
        raise UsageError(f"--frame-tolerance {tolerance}: it must be at least 0")
    path = output or root / "manifest.csv"
    suffix_of(path)
    made = adapter.make(root, **options)
    if not options.get("check", True):
        log.warning("the videos were not opened: extraction will be the first to notice damaged ones")
    if made.skipped:
        shown = "".join(f"\n  {line}" for line in made.skipped[:MOST_NAMED])
        more = "\n  …" if len(made.skipped) > MOST_NAMED else ""
        log.warning("%d video(s) left out:%s%s", len(made.skipped), shown, more)
    for note in made.notes:
        log.info("note: %s", note)
    table = _write(made.table, root, path, tolerance)
    videos = dict(sorted(table.group_by("split").len().iter_rows()))
    anomalous = anomalous_frames(table)
    log.info(
        "%s: %s videos, %d anomalous test frames", path, ", ".join(f"{n} {s}" for s, n in videos.items()), anomalous
    )
    return {
        "manifest": str(path),
        "videos": videos,
        "anomalous_frames": anomalous,
        "skipped": len(made.skipped),
        "notes": len(made.notes),
    }


def anomalous_frames(manifest: pl.DataFrame) -> int:
    """Return the number of frames that lie in an interval; those in several count once.

    A video that is anomalous from end to end counts with its `num_frames`, and not at all while that is unknown.
    """
    total = 0
    annotated = manifest.filter(pl.col("anomalies").list.len() > 0).select("anomalies", "num_frames")
    for row in annotated.to_arrow().to_pylist():
        reached, last = -1, (row["num_frames"] or 0) - 1
        spans = [(i["start"], last if i["end"] is None else i["end"]) for i in row["anomalies"]]
        for start, end in sorted(spans):
            total += max(0, end - max(start, reached + 1) + 1)
            reached = max(reached, end)
    return total


def _write(table: pl.DataFrame, root: Path, path: Path, frame_tolerance: int) -> pl.DataFrame:
    """Write a table of paths below `root`, whole or not at all, and return it as jobs read it."""
    if path.resolve().parent != root.resolve():
        table = table.with_columns(path=pl.Series([str(root.resolve() / place) for place in table["path"]]))
    return publish_manifest(table, path, frame_tolerance)


def publish_manifest(table: pl.DataFrame, path: Path, frame_tolerance: int = 0) -> pl.DataFrame:
    """Write a manifest, whole or not at all, and return it as jobs read it; raises UsageError."""
    partial_file = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write_manifest(table, partial_file)
        written = load_manifest(partial_file, frame_tolerance)
        partial_file.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give another place with --output") from error
    finally:
        partial_file.unlink(missing_ok=True)
    return written
