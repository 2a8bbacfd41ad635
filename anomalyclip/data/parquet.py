"""Parquet files that may be damaged: told apart from a disk or a network that fails."""

import io
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa

Result = TypeVar("Result")

_UNREADABLE = (pa.ArrowException, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError)


def read_undamaged(file: Any, read: Callable[[Any], Result]) -> Result:
    """Return what `read` reads from an open file, which it may find at any position.

    Raises pyarrow.ArrowInvalid if the file is damaged; errors of disk, network and memory stay as they are.
    """
    try:
        return read(file)
    except OSError as error:
        fault = error
    except MemoryError:
        raise
    except _UNREADABLE as error:
        raise pa.ArrowInvalid(f"not readable as Parquet: {error}") from None
    # Arrow raises OSError for both: bytes that can be read, and not be parsed, are damaged
    file.seek(0)
    content = io.BytesIO(file.read())
    try:
        read(content)
    except (OSError, *_UNREADABLE) as error:
        raise pa.ArrowInvalid(f"not readable as Parquet: {error}") from None
    raise fault
