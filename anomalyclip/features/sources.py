"""Video sources on a disk or in an object store: time of change, content hash, local copy.

A source is a file, or a folder that directly holds pictures, its frames.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EPERM
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import polars as pl
from pyarrow import fs

from anomalyclip.data.datasets.media import VIDEOS
from anomalyclip.data.frame_folder import frame_names, frame_paths, is_folder
from anomalyclip.errors import UsageError
from anomalyclip.features.answers import Answers, is_silence

STAMPS = pl.Schema({"video": pl.String(), "size": pl.Int64(), "mtime": pl.Int64()})
"""A source, its size in bytes and its time of change in ns since 1970; both -1 if there is no such file."""


class Stamp(NamedTuple):
    """Size (bytes) and time of change (ns since 1970) of a video; both -1 if there is none.

    A folder has the size of its pictures, and the latest time of a picture or of the folder itself: renaming changes
    the order of frames but no picture.
    """

    size: int
    mtime: int


ABSENT = Stamp(-1, -1)
STORE_ERRORS = (OSError, ValueError, NotImplementedError)
"""What Arrow raises for a store that does not answer, refuses, or is not known to it."""
KERNEL = ("/proc/", "/sys/")
_ANSWERS = Answers()
LISTING_THREADS = 16
"""Requests at a time for single files of a store that did not answer for all of them."""


def stamp(source: str) -> Stamp:
    """Return a source's size and time without opening it."""
    with _asking(source):
        filesystem, path = _locate(source)
        return _stamp(filesystem, filesystem.get_file_info(path))


def stamps(sources: Sequence[str]) -> pl.DataFrame:
    """Return the table STAMPS of the distinct sources, in their order; one request lists many files.

    A source of a store that does not answer, or refuses, is absent.
    """
    distinct = list(dict.fromkeys(sources))
    found: dict[str, Stamp] = {}
    for group in _by_root(distinct):
        try:
            found |= _stamps_of(group)
        except STORE_ERRORS as error:
            if is_silence(error):
                found |= dict.fromkeys(group, ABSENT)
                continue
            with ThreadPoolExecutor(LISTING_THREADS) as pool:  # one name may spoil the request for all
                found |= zip(group, pool.map(_stamp_or_absent, group), strict=True)
    return pl.DataFrame([(source, *found[source]) for source in distinct], schema=STAMPS, orient="row")


def _stamps_of(sources: Sequence[str]) -> dict[str, Stamp]:
    """Return the stamps of sources of one file system."""
    with _asking(sources[0]):
        (filesystem, files), *_ = _by_filesystem(sources)
        infos = filesystem.get_file_info([path for _, path in files])
    return {source: _stamp(filesystem, info) for (source, _), info in zip(files, infos, strict=True)}


def _stamp_or_absent(source: str) -> Stamp:
    try:
        return stamp(source)
    except STORE_ERRORS:
        return ABSENT


def videos_below(uri: str) -> list[str]:
    """Return the videos at any depth below a URI, by their suffix; none if it is a file or missing.

    Raises UsageError if the store does not answer.
    """
    try:
        filesystem, path = _locate(uri)
        if filesystem.get_file_info(path).type != fs.FileType.Directory:
            return []
        infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:
        raise UsageError(f"{uri} cannot be listed: {' '.join(str(error).split())}") from None
    base = uri.partition("?")[0].rstrip("/")
    query = uri[len(uri.partition("?")[0]) :]
    names = sorted(info.path[len(path) :].strip("/") for info in infos if info.type == fs.FileType.File)
    videos = [name for name in names if Path(name).suffix.lower() in VIDEOS and "/." not in f"/{name}"]
    return [f"{base}/{quote(name)}{query}" for name in videos]


def removed_sources(sources: Sequence[str]) -> set[str]:
    """Return the sources that were removed or renamed, as far as is known.

    A source counts as gone if its folder still exists and holds something: a disk that is not mounted, a folder of
    another machine and a store that does not answer prove nothing.
    """
    found: set[str] = set()
    with suppress(OSError, ValueError):
        for filesystem, files in _by_filesystem(list(dict.fromkeys(sources))):
            infos = filesystem.get_file_info([path for _, path in files])
            pairs = zip(files, infos, strict=True)
            absent = {source: _parent(path) for (source, path), info in pairs if info.type == fs.FileType.NotFound}
            inhabited = {folder for folder in set(absent.values()) if _holds_something(filesystem, folder)}
            found |= {source for source, folder in absent.items() if folder in inhabited}
    return found


def fetch(source: str, folder: Path) -> Path:
    """Return the source's own path if it is local, else that of a copy in `folder`; raises OSError."""
    with _asking(source):
        filesystem, path = _locate(source)
        if isinstance(filesystem, fs.LocalFileSystem):
            return Path(path)
        target = folder / Path(path).name
        if filesystem.get_file_info(path).type == fs.FileType.Directory:
            target.mkdir()  # copy_files makes only the folders below
        fs.copy_files(path, str(target), source_filesystem=filesystem)
        return target


def first_bytes(source: str, size: int = 2**16) -> bytes:
    """Return the first bytes of a source, of a folder's first picture; none if it cannot be read."""
    try:
        with _asking(source):
            filesystem, path = _locate(source)
            info = filesystem.get_file_info(path)
            path = next((frame.path for frame in _frames(filesystem, info)), path)
            with filesystem.open_input_file(path) as file:
                return bytes(file.read(size))
    except OSError:
        return b""


def content_hash(path: Path) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of a file; raises OSError, also for a pipe or a device.

    The hash of a folder is of the hashes of its pictures in their order; names do not count.
    """
    if not is_folder(path):
        return _sha256(path).hexdigest()[:32]
    frames = frame_paths(path)
    if not frames:
        raise FileNotFoundError(f"{path} holds no pictures")
    return hashlib.sha256(b"frames" + b"".join(_sha256(frame).digest() for frame in frames)).hexdigest()[:32]


def _sha256(path: Path) -> Any:
    # the kernel's own files look regular, and fail, block or never end when they are read
    if not S_ISREG(path.stat().st_mode) or os.path.realpath(path).startswith(KERNEL):
        raise PermissionError(EPERM, "not a regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _stamp(filesystem: Any, info: Any) -> Stamp:
    if info.type == fs.FileType.File:
        return Stamp(info.size, info.mtime_ns or 0)
    frames = _frames(filesystem, info)
    if not frames:
        return ABSENT
    return Stamp(sum(frame.size for frame in frames), max(part.mtime_ns or 0 for part in (info, *frames)))


def _frames(filesystem: Any, info: Any) -> list[Any]:
    """Return the file infos of the pictures in a folder, in their order; none if it is no folder."""
    if info.type != fs.FileType.Directory:
        return []
    files = filesystem.get_file_info(fs.FileSelector(info.path))
    known = {file.base_name: file for file in files if file.type == fs.FileType.File}
    return [known[name] for name in frame_names(known)]


@contextmanager
def _asking(source: str) -> Iterator[None]:
    """Fail at once for a bucket that is known not to answer; otherwise note whether it does."""
    if "://" not in source:
        yield
        return
    with _ANSWERS.asking(_root(source)):
        yield


def _parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0]


def _holds_something(filesystem: Any, folder: str) -> bool:
    return bool(filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)))


def _by_root(sources: Sequence[str]) -> list[list[str]]:
    """Return the sources of this machine, and those of each bucket."""
    groups: dict[str, list[str]] = {}
    for source in sources:
        groups.setdefault(_root(source) if "://" in source else "", []).append(source)
    return list(groups.values())


def _by_filesystem(sources: Sequence[str]) -> list[tuple[Any, list[tuple[str, str]]]]:
    """Return each filesystem with its sources and their paths there."""
    groups: dict[int, tuple[Any, list[tuple[str, str]]]] = {}
    for source in sources:
        filesystem, path = _locate(source)
        groups.setdefault(id(filesystem), (filesystem, []))[1].append((source, path))
    return list(groups.values())


def _locate(source: str) -> tuple[Any, str]:
    if "://" not in source:
        return _local(), source
    filesystem, base = _remote(_root(source))
    return filesystem, f"{base.rstrip('/')}{unquote(urlsplit(source).path).rstrip('/')}"


def _root(uri: str) -> str:
    """Return the URI of the bucket."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}/" + (f"?{parts.query}" if parts.query else "")


@lru_cache
def _local() -> Any:
    return fs.LocalFileSystem()


@lru_cache
def _remote(root: str) -> tuple[Any, str]:
    # one per bucket: creating one may ask the network for the bucket's region
    filesystem, base = fs.FileSystem.from_uri(root)
    return filesystem, base
