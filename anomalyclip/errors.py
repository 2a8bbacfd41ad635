"""Errors that a command reports in one line instead of a traceback, and the names in such a line."""

from collections.abc import Sequence
from typing import Any

MOST_NAMED = 10
"""Most names in one line."""
MOST_FAULTS = 20
"""Most lines of faults in one message."""


class UsageError(Exception):
    """Wrong use: an option, a file or data that the user must change (exit code 2)."""


class JobError(Exception):
    """Work that failed although it was asked for correctly (exit code 1).

    `result` is that of the part that succeeded, if there is any.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class Stopped(KeyboardInterrupt):
    """SIGTERM: `ray job stop`, the end of a pod, a node that is taken away; the work ends as after Ctrl-C."""


def first_names(names: Sequence[str]) -> str:
    """Return the first names, and an ellipsis if there are more."""
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def fault_lines(head: str, faults: Sequence[str]) -> str:
    """Return a message of a line per fault below its head: the first ones, and the number of the rest."""
    more = [f"… and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
    return "\n  ".join([head, *faults[:MOST_FAULTS], *more])
