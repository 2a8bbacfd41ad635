"""Verdicts of a person on events: the file that a report saves, checked, and which of several verdicts counts."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from anomalyclip.data.labels import is_normal
from anomalyclip.data.manifest_checks import id_faults, label_faults
from anomalyclip.errors import UsageError, fault_lines
from anomalyclip.storage import whole_file

SCHEMA_VERSION = 1
"""Of the files of verdicts."""
MOST_FPS = 10_000
"""Frames per second that a video may have."""
REVIEWS = ".reviews.jsonl"
"""End of the name of the file beside a manifest with the verdicts of all rounds that made its rows."""


class Verdict(BaseModel):
    """What a person says of one event; other fields of the file are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    video_id: str
    source: str
    """Absolute path or URI of the video."""
    start_frame: NonNegativeInt
    end_frame: NonNegativeInt
    """0-based, inclusive."""
    start: float
    end: float
    """Seconds."""
    label: str
    """The class that the model gave."""
    verdict: Literal["true", "false", "unsure"]
    corrected_label: str | None = None
    """The class, if the model's is wrong."""
    decided_at: AwareDatetime
    reviewer: str = ""
    model: str = ""

    @property
    def event(self) -> tuple[str, int, int]:
        """The event that it is about: one of these counts."""
        return self.source, self.start_frame, self.end_frame

    @property
    def right_label(self) -> str:
        """The class of a true event."""
        return self.corrected_label or self.label

    @property
    def fps(self) -> float:
        """Frames per second during the event."""
        seconds = self.end - self.start
        return (self.end_frame + 1 - self.start_frame) / seconds if seconds > 0 else 0.0


class Reviewed(Verdict):
    """A verdict, and the row of the manifest that it is in."""

    row: str | None
    """Its video_id; None if the verdict says nothing that a training can use."""


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts of a file; raises one UsageError with a line for each fault."""
    content = _content(path)
    head = {"reviewer": str(content.get("reviewer") or ""), "model": str(content.get("model") or "")}
    verdicts, faults = list[Verdict](), list[str]()
    for number, given in enumerate(content["verdicts"], start=1):
        try:
            verdict = Verdict.model_validate({**given, **head} if isinstance(given, dict) else given)
        except ValidationError as error:
            faults += [f"verdict {number}: {'.'.join(map(str, e['loc'])) or 'all'}: {e['msg']}" for e in error.errors()]
            continue
        verdicts.append(verdict)
        faults += [f"verdict {number}, video {verdict.video_id!r}: {fault}" for fault in _faults(verdict)]
    if faults:
        raise UsageError(fault_lines(f"{path} has {len(faults)} fault(s):", faults))
    return verdicts


def latest(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdict that counts on each event, the latest one, in the order of the events."""
    counting: dict[tuple[str, int, int], Verdict] = {}
    for verdict in verdicts:
        known = counting.get(verdict.event)
        if known is None or verdict.decided_at >= known.decided_at:
            counting[verdict.event] = verdict
    return [counting[event] for event in sorted(counting)]


def reviews_path(manifest: Path) -> Path:
    """Return the path of the verdicts that made rows of a manifest."""
    return manifest.with_name(manifest.stem + REVIEWS)


def read_reviews(manifest: Path) -> list[Reviewed]:
    """Return the verdicts that made rows of a manifest, none if it was not reviewed; raises UsageError."""
    path = reviews_path(manifest)
    try:
        return [Reviewed.model_validate_json(line) for line in path.read_bytes().splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def write_reviews(reviews: Iterable[Reviewed], manifest: Path) -> None:
    """Write the verdicts that made rows of a manifest beside it."""
    with whole_file(reviews_path(manifest)) as partial:
        partial.write_text("".join(f"{review.model_dump_json()}\n" for review in reviews), encoding="utf-8")


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeEncodeError as error:
        raise UsageError(f"{path} holds text that is not Unicode: {error.object[error.start]!a}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}: give the file that a report has saved") from None
    if not isinstance(content, dict) or not isinstance(content.get("verdicts"), list):
        raise UsageError(f"{path} holds no verdicts: give the file that a report has saved")
    if (version := content.get("schema_version")) != SCHEMA_VERSION:
        raise UsageError(f"{path} has schema_version {version}; this version of the program reads {SCHEMA_VERSION}")
    return content


def _faults(verdict: Verdict) -> Iterator[str]:
    yield from id_faults(verdict.video_id)
    if verdict.end_frame < verdict.start_frame:
        yield f"frames {verdict.start_frame} to {verdict.end_frame}: the event ends before it starts"
    elif not 0 < verdict.fps <= MOST_FPS:
        yield f"{verdict.start:g} to {verdict.end:g} s cannot be frames {verdict.start_frame} to {verdict.end_frame}"
    if "\0" in verdict.source:
        yield "source holds a NUL character"
    if verdict.verdict == "true":
        if is_normal(verdict.right_label):
            yield f"a true event of class {verdict.right_label}: judge it false"
        else:
            yield from label_faults([verdict.right_label])
