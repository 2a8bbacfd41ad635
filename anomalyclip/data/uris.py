"""URIs of videos: which stores a manifest may name, and how.

A manifest may come from someone else, while the requests are signed with the operator's credentials. What decides where
they go (endpoint, credentials, proxy) is therefore the operator's alone and comes from the environment.
"""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
"""Of the stores that Arrow opens."""
PARAMETERS = {"region": re.compile(r"[a-z0-9-]{1,40}"), "anonymous": re.compile(r"true|false")}
"""Query parameters that cannot send a request elsewhere, with the values that they may have."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(path: str) -> bool:
    """Whether a manifest's `path` is a URI outside of this machine."""
    return not path.startswith("file://") and bool(_URI.match(path))


def check_uri(uri: str, buckets: Collection[str] | None = None) -> None:
    """Raise ValueError if a URI is not one of a known store, or of a bucket that is not among `buckets`."""
    try:
        parts = urlsplit(uri)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise ValueError(f"path {uri!r} is no URI: {error}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"path of scheme {parts.scheme}:// is not read: use a file, or {', '.join(SCHEMES)}")
    if parts.password is not None:
        raise ValueError("path holds a password: credentials come from the environment")
    if not parts.netloc:
        raise ValueError(f"path {uri!r} has no bucket")
    if parts.fragment or "\0" in unquote(uri) or ".." in unquote(parts.path).split("/"):
        raise ValueError(f"path {uri!r} holds '..', '#' or a NUL character: write # as %23")
    for name, value in parameters:
        if name not in PARAMETERS or not PARAMETERS[name].fullmatch(value):
            raise ValueError(f"path has the parameter {name!r}: only {', '.join(PARAMETERS)} may stand in a manifest")
    if buckets is not None and parts.netloc not in buckets:
        raise ValueError(f"path is in bucket {parts.netloc!r}, which data.buckets does not allow")
