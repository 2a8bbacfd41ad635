"""Redaction: logins and tokens of addresses, hidden in everything that is shown or kept."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HIDDEN = "***"

# A password may hold `/`, `?` and `#` where SQLAlchemy reads the address; without a colon a login ends at these.
_LOGIN = re.compile(r"""(?<=://)(?:[^\s/?#@:"'<>]*:[^\s"'<>]*|[^\s/?#"'<>]*)@""")
_PARAMETER = re.compile(
    r"""([?&;][^\s=&;?"'<>]*(?:pass|pwd|secret|token|key|sig|credential|auth|session)[^\s=&;?"'<>]*=)[^\s&;#"'<>]+""",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text in which logins (`scheme://user:password@host`) and secret parameters of addresses are hidden."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\1{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def redacted(value: Any) -> Any:
    """Return a JSON-like value in which every text is redacted, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(part) for part in value]
    return value


def without_login(uri: str) -> str:
    """Return an address without its login, for who gets that by another way."""
    return _LOGIN.sub("", uri, count=1)


def is_ambiguous(uri: str) -> bool:
    """Return whether a `/`, `?`, `#` or `@` leaves open what of an address is login, and what is host or path.

    Raises ValueError for what is no address.
    """
    return urlsplit(uri).netloc.rpartition("@")[2] != urlsplit(without_login(uri)).netloc
