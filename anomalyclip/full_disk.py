"""Full disks: one line that names the folder and the machine, whatever was being written."""

import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anomalyclip.errors import JobError
from anomalyclip.storage import Storage, scratch

TOLD_AS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
"""What the system, pyarrow and SQLite say."""
LITTLE = 2**20
"""Bytes; a disk with less counts as full."""


@contextmanager
def disk_errors(roots: Sequence[Storage]) -> Iterator[None]:
    """Turn any error that comes from a full disk into a JobError, one line that names the folder.

    `roots` are the storage roots in use when the error comes.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, JobError) or not is_full_disk(error):
            raise
        raise JobError(
            f"no space left in {_where(error, roots)}, on {socket.gethostname()}: free some "
            "(workflows/storage.py gc removes what is unused), and give the same command"
        ) from error


def is_full_disk(error: Exception) -> bool:
    """Return whether an error comes from a full disk."""
    return any(text in str(error) for text in TOLD_AS)


def _where(error: Exception, roots: Sequence[Storage]) -> str:
    """Return the file that could not be written if the error names it, else the folders on full disks, else all."""
    if isinstance(error, OSError) and (name := error.filename2 or error.filename):  # a copy names both its files
        return str(name)
    local = [Path(storage.path(".")) for storage in roots if storage.is_local]
    folders = [*local, scratch(), Path(tempfile.gettempdir())]
    full = [folder for folder in folders if folder.exists() and shutil.disk_usage(folder).free < LITTLE]
    return " or ".join(str(folder) for folder in full or folders)
