"""The two kinds of failure a command reports in one line instead of a traceback."""


class UsageError(Exception):
    """Wrong use: an option, a file or data that the user must change (exit code 2)."""


class JobError(Exception):
    """Work that failed although it was asked for correctly (exit code 1)."""
