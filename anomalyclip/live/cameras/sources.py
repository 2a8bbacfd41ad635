"""Sources of live video: what a user names, checked before anything is opened."""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from anomalyclip.data.containers import ContainerError, container_of
from anomalyclip.errors import UsageError
from anomalyclip.redaction import is_ambiguous, redact

SCHEMES = ("rtsp", "rtsps", "http", "https")
LONGEST_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_KNOWN = "rtsp://, rtsps://, http://, https://, a device such as /dev/video0, a video file, or env:VARIABLE"
_PLAYLISTS = (".m3u8", ".m3u", ".mpd", ".pls", ".sdp", ".ffconcat")

Kind = Literal["stream", "device", "file"]


@dataclass(frozen=True)
class Source:
    """One camera to watch; shown without the login of its address."""

    name: str
    """Unique; letters, digits, `-`, `_` and `.`: it is part of file names, topics and metrics."""
    address: str = field(repr=False)
    """Of a stream with its login, or the path of a device or file."""
    kind: Kind

    def __str__(self) -> str:
        return f"{self.name} ({redact(self.address)})"


def parse_sources(texts: Sequence[str]) -> tuple[Source, ...]:
    """Return the sources of `NAME=ADDRESS` or `ADDRESS` each; `env:VARIABLE` is the address in the environment.

    A missing name is made of host and path, or of the file's name, and numbered where several are equal. Raises
    UsageError for what cannot be a source; logins never stand in its message.
    """
    if not texts:
        raise UsageError("no source: name at least one camera, " + _KNOWN)
    sources = list[Source]()
    taken = {name for name, _ in map(_split, texts) if name}
    for text in texts:
        name, address = _split(text)
        address = _from_environment(address)
        kind = _kind(address)
        if name is None:
            name = _free(_name_of(address, kind), taken)
            taken.add(name)
        elif any(name == source.name for source in sources):
            raise UsageError(f"two sources are named {name!r}: give each its own name")
        sources.append(Source(name, address, kind))
    return tuple(sources)


def _split(text: str) -> tuple[str | None, str]:
    name, equals, address = text.partition("=")
    if not equals or "/" in name or ":" in name:
        return None, text
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"source {redact(text)!r}: the name {name!r} must be 1 to {LONGEST_NAME} letters, digits, '-', '_' and '.'"
        )
    return name, address


def _from_environment(address: str) -> str:
    """Return the address that is meant: other users of a machine see its command lines, and logins in them."""
    variable = address.removeprefix("env:")
    if variable == address:
        return address
    if not os.environ.get(variable):
        raise UsageError(f"source {address!r}: the environment has no variable {variable!r}")
    return os.environ[variable]


def _kind(address: str) -> Kind:
    shown = repr(redact(address))
    if not address:
        raise UsageError(f"source {shown}: no address; use {_KNOWN}")
    if any(character < " " or character == "\x7f" for character in address):
        raise UsageError(f"source {shown}: an address holds no control characters")
    scheme = _SCHEME.match(address)
    if scheme and scheme[1].lower() in SCHEMES:
        _check_stream(address, shown)
        return "stream"
    path = Path(address)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if scheme:
            raise UsageError(f"source {shown}: {scheme[1]}: is not read; use {_KNOWN}") from None
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"source {shown}: {reason}; use {_KNOWN}") from None
    if stat.S_ISCHR(mode):
        if not re.fullmatch(r"/dev/video\d+", str(path.resolve())):
            raise UsageError(f"source {shown}: not a camera; devices are /dev/video0, /dev/video1, …")
        return "device"
    try:
        container_of(path)
    except (ContainerError, OSError) as error:
        reason = str(error) if isinstance(error, ContainerError) else error.strerror
        raise UsageError(f"source {shown}: {reason}; use {_KNOWN}") from None
    return "file"


def _check_stream(address: str, shown: str) -> None:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
        if is_ambiguous(address):
            raise UsageError(f"source {shown}: write / ? # @ in a login as %2F %3F %23 %40, and @ behind it as %40")
    except ValueError as error:
        raise UsageError(f"source {shown}: no address: {error}") from None
    if not host or not address[len(parts.scheme) :].startswith("://") or " " in address:
        raise UsageError(f"source {shown}: no address: write {parts.scheme}://HOST/PATH, with %20 for a space")
    if Path(parts.path).suffix.lower() in _PLAYLISTS:
        raise UsageError(f"source {shown}: playlists are not read, for they name other addresses; use {_KNOWN}")


def _name_of(address: str, kind: Kind) -> str:
    if kind == "stream":
        parts = urlsplit(address)
        words = f"{parts.hostname}{parts.path}"
    else:
        words = Path(address).name if kind == "device" else Path(os.path.normpath(address)).stem
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._")
    return words[: LONGEST_NAME - 4].strip("-._") or "camera"


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"
