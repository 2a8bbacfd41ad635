"""Footage to score: files, folders, globs, URIs, or the videos of a manifest."""

import glob
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from anomalyclip.data.datasets.media import Kind, find_media
from anomalyclip.data.manifest import manifest_digest
from anomalyclip.data.manifest_checks import locate_source, resolve_source
from anomalyclip.data.names import unique_ids
from anomalyclip.data.schema import SCHEMA
from anomalyclip.data.uris import check_uri, is_uri
from anomalyclip.errors import UsageError
from anomalyclip.features.sources import videos_below
from anomalyclip.job import Job
from anomalyclip.jobs.sources import load_source
from anomalyclip.presets import names_benchmark

log = logging.getLogger("anomalyclip")

TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class Footage:
    """Videos to score."""

    table: pl.DataFrame
    """Columns of a manifest, and `source`; `labels` is null in videos of which nothing is known."""
    digest: str
    """Of the manifest, or of the table."""
    name: str
    """Of the manifest's data, else of the first video or folder."""
    manifest: Path | None


def find_footage(job: Job, names: Sequence[str]) -> Footage:
    """Return the videos that a user names; raises UsageError if there are none, or if one is missing.

    A manifest stands alone; its test videos are scored, or all if none is a test video.
    """
    if not names:
        raise UsageError("give videos: files, folders, globs, URIs, or a manifest")
    tables = [name for name in names if Path(name).suffix.lower() in TABLES or _is_benchmark(name)]
    if tables and len(names) > 1:
        raise UsageError(f"manifest {tables[0]} beside other videos: score it by itself")
    return _of_manifest(job, Path(tables[0])) if tables else _of_files(names, job.config.data.buckets)


def _is_benchmark(name: str) -> bool:
    return names_benchmark(Path(name)) and not Path(name).exists()


def _of_manifest(job: Job, path: Path) -> Footage:
    source = load_source(job, path)
    test = source.table.filter(pl.col("split") == "test")
    table = source.table if test.is_empty() else test
    if table.height < source.table.height:
        log.info("the %d test videos of %d in %s", table.height, source.table.height, source.path)
    return Footage(table, source.digest, source.dataset, source.path)


def _of_files(names: Sequence[str], buckets: Sequence[str] | None) -> Footage:
    sources = list(dict.fromkeys(source for name in names for source in _sources(name, buckets)))
    named = zip(unique_ids(sources), sources, strict=True)
    rows: list[tuple[Any, ...]] = [(video_id, source, "test", None, [], None, source) for video_id, source in named]
    table = pl.DataFrame(rows, schema={**SCHEMA, "source": pl.String()}, orient="row")
    place = re.split(r"[*?\[]", names[0])[0].rstrip("/") or "videos"
    return Footage(table, manifest_digest(table), unique_ids([place])[0], None)


def _sources(name: str, buckets: Sequence[str] | None) -> Iterable[str]:
    """Return the absolute paths or URIs of the videos that one argument names."""
    if is_uri(name):
        _check(name, buckets)
        return videos_below(name) or [name]
    place = Path(locate_source(name, Path.cwd()))
    if place.is_dir():
        return _in_folder(name, place)
    if place.exists() or not glob.has_magic(name):
        return [_file(name)]
    found = sorted(glob.glob(str(Path(name).expanduser()), recursive=True))  # noqa: PTH207 (`**` and absolute patterns)
    if not found:
        raise UsageError(f"no file is like {name}")
    return [source for one in found for source in _sources(one, buckets)]


def _check(uri: str, buckets: Sequence[str] | None) -> None:
    try:
        check_uri(uri, buckets)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _file(name: str) -> str:
    try:
        return resolve_source(str(Path(name).absolute()) if "://" not in name else name, Path.cwd())
    except ValueError as error:
        raise UsageError(f"{error}: give files, folders, globs, URIs, or a manifest") from None


def _in_folder(name: str, folder: Path) -> list[str]:
    found = [media.path for media in find_media(folder) if media.kind is not Kind.FEATURES]
    if not found:
        found = [folder] if _holds_pictures(folder) else []
    if not found:
        raise UsageError(f"there is no video in {name}")
    return [locate_source(str(path), folder) for path in found]


def _holds_pictures(folder: Path) -> bool:
    try:
        resolve_source(str(folder), folder)
    except ValueError:
        return False
    return True
