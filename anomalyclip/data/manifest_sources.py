"""The sources of many paths at once: each folder is listed once, instead of a look at every file."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

import polars as pl

from anomalyclip.data.uris import SCHEMES

WORTH_LISTING = 8
"""Files of a folder above which it is listed: it may hold millions that nobody names."""
_PLAIN_URI = rf"^(?:{'|'.join(SCHEMES)})://([A-Za-z0-9._-]+)(?:/[^?#%\\\x00-\x20\x7f]*)?$"
_PLAIN_PATH = r"^/?(?:[^/\x00]+/)*[^/\x00]+$"
_URI = r"^[A-Za-z][A-Za-z0-9+.-]+://"
_DOTS = r"(?:^|/)\.\.?(?:/|$)"


def plain_sources(paths: pl.Series, root: Path, buckets: Collection[str] | None = None) -> pl.Series:
    """Return the sources of a manifest's paths as `resolve_source` does; null where that has to decide.

    Found are URIs of a known store without parameters or escapes, and regular files that are no links. `root` is the
    manifest's folder (resolved).
    """
    path = pl.col("path")
    table = paths.alias("path").to_frame().unique(maintain_order=True)
    is_uri = path.str.contains(_PLAIN_URI) & ~path.str.contains(_DOTS)
    if buckets is not None:
        is_uri &= path.str.extract(_PLAIN_URI, 1).is_in(list(buckets))
    is_local = ~path.str.contains(_URI) & path.str.contains(_PLAIN_PATH) & ~path.str.contains(_DOTS)
    uris = table.filter(is_uri).with_columns(source=path)
    local = table.filter(is_local).with_columns(name=path.str.extract(r"([^/]+)$", 1))
    local = local.with_columns(folder=path.str.strip_suffix(pl.col("name")))
    known = [uris]
    for (folder,), part in local.group_by("folder", maintain_order=True):
        known.append(_in_folder(str(folder), part, root))
    found = paths.alias("path").to_frame().join(pl.concat(known), on="path", how="left", maintain_order="left")
    return found["source"]


def _in_folder(folder: str, part: pl.DataFrame, root: Path) -> pl.DataFrame:
    real = os.path.realpath(root / folder)
    if not folder.startswith("/") and not Path(real).is_relative_to(root):
        return pl.DataFrame(schema={"path": pl.String(), "source": pl.String()})
    files = pl.DataFrame({"name": list(_regular_files(real, part["name"].to_list()))}, schema={"name": pl.String()})
    found = part.join(files, on="name", maintain_order="left")
    return found.select("path", source=pl.lit(real.rstrip("/") + "/") + pl.col("name"))


def _regular_files(folder: str, names: Sequence[str]) -> Iterator[str]:
    """Yield those of the names that are regular files of a folder, and no links; none if it cannot be listed."""
    try:
        if len(names) < WORTH_LISTING:
            yield from (name for name in names if _is_regular(f"{folder}/{name}"))
            return
        wanted = set(names)
        with os.scandir(folder) as entries:
            found = (entry for entry in entries if entry.name in wanted)
            yield from (entry.name for entry in found if entry.is_file(follow_symlinks=False))
    except OSError:
        return


def _is_regular(path: str) -> bool:
    try:
        return S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
