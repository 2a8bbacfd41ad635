"""The result of an adapter, and its refusal of a tree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.data.manifest_columns import manifest_table
from anomalyclip.errors import UsageError


@dataclass(frozen=True)
class DatasetManifest:
    """A dataset below a root."""

    table: pl.DataFrame
    """The manifest: the columns of SCHEMA, `path` relative to the root, or absolute if a link leads out of it."""
    notes: list[str]
    """What the user should know, one line each: what was fixed, left out or decided."""
    skipped: list[str]
    """Videos that were left out because they are faulty or missing, one line each."""


def dataset_manifest(
    rows: Iterable[Mapping[str, Any]], notes: Iterable[str], skipped: Iterable[str] = ()
) -> DatasetManifest:
    """Return the manifest of rows with the columns of SCHEMA."""
    return DatasetManifest(manifest_table(rows), list(notes), list(skipped))


def raise_faults(root: Path, faults: Sequence[str], summary: str = "") -> None:
    """Raise one UsageError with all faults of a tree, if it has any; the summary is in its first line."""
    if faults:
        kinds = f" ({summary})" if summary else ""
        raise UsageError("\n  ".join([f"{root} has {len(faults)} fault(s){kinds}:", *faults]))
