"""Addresses of those who receive messages: checked before anything is sent there."""

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from anomalyclip.errors import UsageError
from anomalyclip.redaction import is_ambiguous


def receiver_address(url: str, schemes: Collection[str], usage: str) -> tuple[SplitResult, int | None]:
    """Return the parts of an address of one of these schemes, and its port if it has one.

    Raises UsageError, which says `usage` and does not repeat the address: it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in schemes and bool(parts.hostname) and url.isprintable() and " " not in url
        if is_good and not is_ambiguous(url):
            return parts, parts.port
    except ValueError:
        pass
    raise UsageError(f"{usage}; signs that mean something else in an address are written as %40 for @, %2F for /")
