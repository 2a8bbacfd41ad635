"""The processes of trials, as the operating system sees them."""

import psutil


def trial_processes() -> list[psutil.Process]:
    """Return the processes of this test session's Ray that run trials."""
    children = psutil.Process().children(recursive=True)
    return [each for each in children if "ImplicitFunc" in "".join(_command(each)[:1])]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
