"""Videos where they lie, on a disk or in an object store: when they changed, their content, a local copy."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import polars as pl
from pyarrow import fs

STAMPS = pl.Schema({"video": pl.String(), "size": pl.Int64(), "mtime": pl.Int64()})
"""A source, its size in bytes and its time of change in ns since 1970; both -1 where there is no such file."""


class Stamp(NamedTuple):
    """Size (bytes) and time of change (ns since 1970) of a file; both -1 where there is none."""

    size: int
    mtime: int


ABSENT = Stamp(-1, -1)


def stamp(source: str) -> Stamp:
    """Return a source's size and time without opening it."""
    filesystem, path = _locate(source)
    return _stamp(filesystem.get_file_info(path))


def stamps(sources: Sequence[str]) -> pl.DataFrame:
    """Return the table STAMPS of the distinct sources, in their order; one request lists many files."""
    distinct = list(dict.fromkeys(sources))
    by_filesystem: dict[Any, list[tuple[str, str]]] = {}
    for source in distinct:
        filesystem, path = _locate(source)
        by_filesystem.setdefault(id(filesystem), []).append((source, path))
    found: dict[str, Stamp] = {}
    for files in by_filesystem.values():
        infos = _locate(files[0][0])[0].get_file_info([path for _, path in files])
        found |= {source: _stamp(info) for (source, _), info in zip(files, infos, strict=True)}
    return pl.DataFrame([(source, *found[source]) for source in distinct], schema=STAMPS, orient="row")


def fetch(source: str, folder: Path) -> Path:
    """Return the source's own path where it is local, else that of a copy in `folder`; raises OSError."""
    filesystem, path = _locate(source)
    if isinstance(filesystem, fs.LocalFileSystem):
        return Path(path)
    target = folder / Path(path).name
    fs.copy_files(path, str(target), source_filesystem=filesystem)
    return target


def head(source: str, size: int = 2**16) -> bytes:
    """Return the first bytes of a source; none where it cannot be read."""
    filesystem, path = _locate(source)
    try:
        with filesystem.open_input_file(path) as file:
            return bytes(file.read(size))
    except OSError:
        return b""


def content_hash(path: Path) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _stamp(info: Any) -> Stamp:
    return Stamp(info.size, info.mtime_ns or 0) if info.type == fs.FileType.File else ABSENT


def _locate(source: str) -> tuple[Any, str]:
    if "://" not in source:
        return _local(), source
    uri = urlsplit(source)
    filesystem, base = _remote(f"{uri.scheme}://{uri.netloc}/" + (f"?{uri.query}" if uri.query else ""))
    return filesystem, f"{base.rstrip('/')}{unquote(uri.path)}"


@lru_cache
def _local() -> Any:
    return fs.LocalFileSystem()


@lru_cache
def _remote(root: str) -> tuple[Any, str]:
    # one a bucket: making one may ask the network for the bucket's region
    filesystem, base = fs.FileSystem.from_uri(root)
    return filesystem, base
