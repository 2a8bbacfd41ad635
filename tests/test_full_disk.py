"""A full disk is one line with the folder, in whatever words it is told."""

import errno
import os
import re
import shutil
from collections import namedtuple

import pytest

from anomalyclip.errors import JobError
from anomalyclip.full_disk import disk_errors
from anomalyclip.storage import Storage, scratch

Usage = namedtuple("Usage", "free")


def told(error: Exception, storage: Storage) -> str:
    """What is told of an error."""
    with pytest.raises(JobError) as caught, disk_errors([storage]):
        raise error
    return str(caught.value)


def test_a_file_that_finds_no_space_is_named(storage: Storage) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    assert re.fullmatch(r"no space left in /data/x, on \S+: free some .*same command", told(error, storage))


def test_of_a_copy_the_file_that_is_written_is_named(storage: Storage) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/from/x", None, "/to/x")
    assert told(error, storage).startswith("no space left in /to/x, on ")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_without_a_name_the_folders_on_full_disks_are_named_or_all(
    storage: Storage, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write("x", b"")
    free = {str(scratch()): 100}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free.get(str(folder), 2**30)))
    assert told(error, storage).startswith(f"no space left in {scratch()}, on ")
    free.clear()
    assert told(error, storage).startswith(f"no space left in {storage.root} or {scratch()} or ")


def test_other_errors_pass() -> None:
    with pytest.raises(OSError, match="Input/output"), disk_errors([]):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
