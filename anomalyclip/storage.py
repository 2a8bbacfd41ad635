"""Storage root, local or in an object store, where files become visible only when they are whole."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple

from pyarrow import fs

from anomalyclip.errors import JobError, UsageError
from anomalyclip.redaction import redact, redacted

COMPLETE = "_COMPLETE"
"""Marker written last into an object of several files."""
S3_ATTEMPTS = 11
"""Requests before S3 counts as failed: with a pause of 25 ms that doubles each time, it may be away for 50 s."""
READ_TRIES = 5
_OBJECT_STORES = ("AWS Error", "google::cloud::Status")
"""What Arrow's errors of object stores say."""


class StoredFile(NamedTuple):
    """A file in a listing."""

    key: str
    size: int
    """Bytes."""
    changed: float | None
    """Seconds since 1970; None if the store does not record it."""


class Storage:
    """Files under one root URI (a local folder, `s3://`, `gs://`), addressed by keys such as `runs/a/b`.

    Locally a file appears whole or not at all, by rename. In an object store an upload is visible once it is
    finished, but an interrupted one may leave part of a file: a folder of several files has a marker, written last.
    """

    def __init__(self, root: str) -> None:
        if "://" not in root:
            root = str(Path(root).expanduser().absolute())
        self.root = root.rstrip("/")
        try:
            self.filesystem, self._prefix = fs.FileSystem.from_uri(self.root)
        except (OSError, ValueError) as error:
            raise UsageError(f"storage root {root} cannot be used: {error}") from None
        if isinstance(self.filesystem, fs.S3FileSystem):
            self.filesystem = _s3(self.filesystem, S3_ATTEMPTS)

    def check_usable(self) -> None:
        """Raise UsageError if a local root cannot be written, or an S3 bucket is not there; leaves no file there."""
        if isinstance(self.filesystem, fs.S3FileSystem):
            self._check_bucket()
        if not self.is_local:
            return
        folder = Path(self._prefix)
        while not folder.exists():
            folder = folder.parent
        try:
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UsageError(f"storage root {self.root} cannot be used: {error.strerror} ({folder})") from None

    def _check_bucket(self) -> None:
        bucket = self._prefix.partition("/")[0]
        try:
            found = _s3(self.filesystem, attempts=3).get_file_info(bucket).type  # waits for seconds, not for a minute
        except OSError as error:
            raise UsageError(f"storage root {redact(self.root)} cannot be used: {_line(error)}") from None
        if found == fs.FileType.NotFound:
            raise UsageError(f"storage root {redact(self.root)} cannot be used: there is no bucket {bucket}")

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, key: str) -> str:
        """Return the key's path for `filesystem` (a plain path if the root is local)."""
        return f"{self._prefix}/{key}"

    def uri(self, key: str) -> str:
        """Return the URI of the key, for users: without the root's login."""
        base, mark, query = redact(self.root).partition("?")
        return f"{base}/{key}{mark}{query}"

    def exists(self, key: str) -> bool:
        """Return whether the key is a file or folder."""
        return bool(self.filesystem.get_file_info(self.path(key)).type != fs.FileType.NotFound)

    def files(self) -> list[StoredFile]:
        """Return all files of the root at any depth, by one recursive listing that opens none of them."""
        selector = fs.FileSelector(self._prefix, allow_not_found=True, recursive=True)
        try:
            infos = self.filesystem.get_file_info(selector)
        except FileNotFoundError:  # a job has just removed a folder during the listing
            infos = self.filesystem.get_file_info(selector)
        return sorted(self._stored(info) for info in infos if info.type == fs.FileType.File)

    def stat(self, key: str) -> StoredFile | None:
        """Return a file's size and time without opening it, None if there is no such file."""
        info = self.filesystem.get_file_info(self.path(key))
        return self._stored(info) if info.type == fs.FileType.File else None

    def list(self, key: str) -> list[str]:
        """Return the names of the files and folders directly below the key, sorted; none if it is missing."""
        selector = fs.FileSelector(self.path(key), allow_not_found=True)
        return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def read(self, key: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""
        tries = 1
        while True:
            try:
                with self.filesystem.open_input_stream(self.path(key)) as stream:
                    return bytes(stream.read())
            except OSError as error:
                # Arrow asks for the size first: meanwhile the object was removed, or replaced by one of another size
                if tries == READ_TRIES or "during GetObject" not in str(error):
                    raise
                tries += 1

    def read_json(self, key: str) -> Any:
        """Return a JSON file's value; raises FileNotFoundError."""
        return json.loads(self.read(key))

    def write(self, key: str, content: bytes) -> None:
        """Write bytes to the key."""
        with self._replacing(key) as path, self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def write_json(self, key: str, value: Any) -> None:
        """Write a JSON value to the key; logins of addresses in it are hidden."""
        self.write(key, json.dumps(redacted(value), indent=2).encode())

    def publish(self, local: Path, key: str) -> None:
        """Copy a finished local file to the key."""
        with self._replacing(key) as path:
            fs.copy_files(str(local), path, destination_filesystem=self.filesystem)

    def publish_folder(self, local: Path, key: str) -> None:
        """Copy a local folder's files to the key, replacing the old ones; it is complete once it has its marker."""
        # marker removed first and written last: whoever is killed in between leaves no folder that looks complete
        self.delete(f"{key}/{COMPLETE}")
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            self.publish(file, f"{key}/{file.relative_to(local)}")
        self.write(f"{key}/{COMPLETE}", b"")

    def is_complete(self, key: str) -> bool:
        """Return whether a folder written by `publish_folder` is whole."""
        return self.exists(f"{key}/{COMPLETE}")

    def delete(self, key: str) -> None:
        """Remove a file, or a folder marker first; a missing key is no error."""
        kind = self.filesystem.get_file_info(self.path(key)).type
        if kind == fs.FileType.Directory:
            self.delete(f"{key}/{COMPLETE}")
            self.filesystem.delete_dir(self.path(key))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self.path(key))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Yield a file or folder as a local path: its own if the root is local, else that of a temporary copy."""
        if self.is_local:
            yield Path(self.path(key))
            return
        with TemporaryDirectory(dir=scratch()) as folder:
            target = Path(folder) / Path(key).name
            if self.filesystem.get_file_info(self.path(key)).type == fs.FileType.Directory:
                target.mkdir()  # copy_files makes only the folders below
            fs.copy_files(self.path(key), str(target), source_filesystem=self.filesystem)
            yield target

    def _stored(self, info: Any) -> StoredFile:
        key = info.path.strip("/")[len(self._prefix.strip("/")) + 1 :]
        return StoredFile(key, info.size, info.mtime and info.mtime.timestamp())

    @contextmanager
    def _replacing(self, key: str) -> Iterator[str]:
        path = self.path(key)
        if not self.is_local:  # object stores cannot rename, and show an upload when it is finished
            yield path
            return
        with whole_file(Path(path)) as partial:
            yield str(partial)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn an error of an object store, which was asked again for a while, into a JobError, one line."""
    try:
        yield
    except OSError as error:
        if not any(text in str(error) for text in _OBJECT_STORES):
            raise
        raise JobError(f"the object store failed: {_line(error)}; once it works, the same command resumes") from error


def _line(error: OSError) -> str:
    return " ".join(str(error).split())[:300]


def _s3(found: fs.S3FileSystem, attempts: int) -> fs.S3FileSystem:
    """Return the same S3, asked so often before it fails; it writes a small file by one request instead of three."""
    _, (options,) = found.__reduce__()  # a URI has no place for retries
    options = {**options, "allow_delayed_open": True}
    if not options["proxy_options"]["host"]:
        del options["proxy_options"]
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=attempts))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` at the end; nothing is left if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # in the same folder: a rename is atomic only within one file system
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def default_root() -> str:
    """Return the storage root if none is given: `ANOMALYCLIP_STORAGE`, else `~/anomalyclip`."""
    return os.environ.get("ANOMALYCLIP_STORAGE") or str(Path.home() / "anomalyclip")


def scratch() -> Path:
    """Return the folder for temporary files and caches (`ANOMALYCLIP_SCRATCH`, else `~/.cache/anomalyclip`)."""
    folder = Path(os.environ.get("ANOMALYCLIP_SCRATCH") or Path.home() / ".cache" / "anomalyclip")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"scratch folder {folder} cannot be made: {error.strerror}; set ANOMALYCLIP_SCRATCH") from None
    return folder


def free_bytes(storage: Storage) -> int | None:
    """Return the bytes free under a local root, None for an object store."""
    if not storage.is_local:
        return None
    folder = Path(storage.path("."))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
