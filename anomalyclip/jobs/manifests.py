"""The manifest of a dataset on disk: which adapter makes it, and the file it goes to."""

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
from anomalyclip.errors import UsageError

log = logging.getLogger("anomalyclip")


class Adapter(NamedTuple):
    """What makes a dataset's manifest of its root, and the options it takes."""

    make: Callable[..., DatasetManifest]
    options: tuple[str, ...]


ADAPTERS = {
    **{name: Adapter(partial(official, name), ("frame_tolerance", "check")) for name in DATASETS},
    "ped2": Adapter(ped2, ("seed",)),
    "folder": Adapter(folder, ("frame_tolerance", "seed")),
}
FLAGS = {"frame_tolerance": "--frame-tolerance", "seed": "--seed", "check": "--no-check"}


def make_manifest(dataset: str, root: Path, output: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a dataset's folder and return what it holds; a fault of the tree leaves nothing behind.

    `options` are those that were given. Without `output` it is `root/manifest.csv`. Raises UsageError.
    """
    adapter = ADAPTERS[dataset]
    if unused := [name for name in options if name not in adapter.options]:
        raise UsageError(f"{dataset} has no use for {', '.join(FLAGS[name] for name in unused)}")
    if (tolerance := options.get("frame_tolerance", 0)) < 0:
        raise UsageError(f"--frame-tolerance {tolerance}: it must be at least 0")
    path = output or root / "manifest.csv"
    suffix_of(path)
    made = adapter.make(root, **options)
    if not options.get("check", True):
        log.warning("the videos were not looked into: a cut or exchanged one is noticed by extraction at the earliest")
    for note in made.notes:
        log.info("note: %s", note)
    table = _write(made.table, root, path, tolerance)
    videos = dict(sorted(table.group_by("split").len().iter_rows()))
    anomalous = anomalous_frames(table)
    log.info(
        "%s: %s videos, %d anomalous test frames", path, ", ".join(f"{n} {s}" for s, n in videos.items()), anomalous
    )
    return {"manifest": str(path), "videos": videos, "anomalous_frames": anomalous, "notes": len(made.notes)}


def anomalous_frames(manifest: pl.DataFrame) -> int:
    """Return the number of frames that lie in an interval; those in several count once."""
    total = 0
    for anomalies in manifest["anomalies"].to_list():
        reached = -1
        for start, end in sorted((interval["start"], interval["end"]) for interval in anomalies):
            total += max(0, end - max(start, reached + 1) + 1)
            reached = max(reached, end)
    return total


def _write(table: pl.DataFrame, root: Path, path: Path, frame_tolerance: int) -> pl.DataFrame:
    """Write a table of paths below `root`, whole or not at all, and return it as a job will read it."""
    if path.resolve().parent != root.resolve():
        table = table.with_columns(path=pl.Series([str(root.resolve() / place) for place in table["path"]]))
    partial_file = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write_manifest(table, partial_file)
        written = load_manifest(partial_file, frame_tolerance)
        partial_file.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give another place by --output") from error
    finally:
        partial_file.unlink(missing_ok=True)
    return written
