"""Report of a scoring job: one HTML file that opens offline, written video by video."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from anomalyclip.data.labels import NORMAL
from anomalyclip.events.event import Event, Track
from anomalyclip.report.timeline import thin

REPORT = "report.html"
ASSETS = Path(__file__).parent / "assets"
SCHEMA_VERSION = 1
"""Of the verdicts that the page saves."""
HARMLESS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""JSON's escapes for the signs that would end a <script> element or a line of it."""


@dataclass(frozen=True, eq=False)
class ReportVideo:
    """A scored video."""

    track: Track
    events: Sequence[Event]
    video: str | None
    """What the browser plays: a path relative to the report, or a file URI; None if there is nothing to play."""
    source: str
    """Path or URI of the source, to be shown and to come back in the verdicts."""
    truth: Sequence[tuple[float, float, str]] | None
    """True intervals (start and end in seconds, class); None if they are unknown."""
    frames: Mapping[int, bytes]
    """JPEG pictures by frame; an event shows that of its peak frame, if it is there."""


@dataclass(frozen=True)
class ReportModel:
    """The model that scored."""

    name: str
    detection: float
    alert: float
    """Thresholds of the score."""
    classes: Sequence[str]
    note: str
    """What the normal footage says of the threshold, or a warning."""
    created: str = field(default_factory=lambda: datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"))
    """Date and time of the report, as text."""


def write_report(folder: Path, model: ReportModel, videos: Iterable[ReportVideo]) -> Path:
    """Write `report.html` and return its path; the file appears whole.

    Videos are taken one at a time, so that memory does not grow with their number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = hashlib.sha256(_json([model.name, model.detection, model.alert]).encode())
    blocks = _blocks(videos, identity.update)
    # a function, because the identity is known only after the last video
    facts = partial(_facts, model, identity)
    stream = _environment().get_template("report.html.jinja").stream(model=model, blocks=blocks, facts=facts)
    with TemporaryDirectory(prefix=".report-", dir=folder) as unfinished:
        file = Path(unfinished) / REPORT
        with file.open("wb") as target:
            stream.dump(target, encoding="utf-8")
        return file.replace(folder / REPORT)


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    environment.globals["asset"] = _asset
    environment.globals["fingerprint"] = _fingerprint
    return environment


def _asset(name: str) -> Markup:
    """Return a script or a style sheet of the package as it is."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 (a file of this package)


def _fingerprint(name: str) -> str:
    """Return what allows exactly this script or style sheet in a Content Security Policy."""
    return f"sha256-{b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()}"


def _blocks(videos: Iterable[ReportVideo], digest: Callable[[bytes], None]) -> Iterator[tuple[Markup, Markup]]:
    """Yield what the list needs of each video, and what the page reads once it shows the video."""
    for video in videos:
        summary = _summary(video)
        digest(_json([summary["video_id"], summary["events"]]).encode())
        yield _block(summary), _block(_detail(video))


def _summary(video: ReportVideo) -> dict[str, Any]:
    track, events = video.track, [event.fields() for event in video.events]
    for event in events:
        del event["video_id"]
    return {
        "video_id": track.video_id,
        "source": video.source,
        "video": _address(video.video),
        "start": float(track.edges[0]),
        "end": float(track.edges[-1]),
        "peak": max((event.peak for event in video.events), default=float(track.scores.max())),
        "events": events,
    }


def _detail(video: ReportVideo) -> dict[str, Any]:
    return {
        **thin(video.track)._asdict(),
        "truth": video.truth,
        "frames": {frame: b64encode(picture).decode() for frame, picture in video.frames.items()},
    }


def _address(video: str | None) -> str | None:
    """Return the address of what the browser plays; a path may hold signs that mean something in an address."""
    return video if video is None or video.startswith("file:") else quote(video)


def _facts(model: ReportModel, identity: Any) -> Markup:
    return _block(
        {
            "schema_version": SCHEMA_VERSION,
            "id": identity.hexdigest()[:16],
            "model": model.name,
            "detection": model.detection,
            "alert": model.alert,
            "classes": [name for name in model.classes if name != NORMAL],
        }
    )


def _block(value: Any) -> Markup:
    """Return JSON that is safe inside a <script> element, whatever strings it holds."""
    return Markup(_json(value).translate(HARMLESS))  # noqa: S704 (no character that ends a script is left)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
