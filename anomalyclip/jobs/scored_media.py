"""What a scoring job makes of the videos themselves: report, clips, annotated copies and exports."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import DecodeError
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.events.event import Event
from anomalyclip.events.export import VideoFacts, export
from anomalyclip.features.sources import fetch
from anomalyclip.jobs.scored import ScoredVideo
from anomalyclip.report.annotate import annotate
from anomalyclip.report.clips import cut_clips
from anomalyclip.report.page import ReportModel, ReportVideo, write_report
from anomalyclip.report.previews import PICTURE_HEIGHT, PREVIEW_HEIGHT, key_frames, plays_in_browser, write_preview
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

Made = TypeVar("Made")

REPORT, CLIPS, ANNOTATED, EXPORTS, PREVIEWS = "report", "clips", "annotated", "exports", "previews"
"""Folders of a scoring job's results; the previews' is in the report's."""
MOST_PICTURES = 50
"""Most events of a video that have a picture in the report, the highest peaks first."""


@dataclass(frozen=True)
class Wanted:
    """What to make of the scored videos."""

    report: bool = True
    clips: bool = False
    annotate: bool = False
    exports: tuple[str, ...] = ()
    """Formats of `events/export.py`."""

    def __bool__(self) -> bool:
        return self.report or self.clips or self.annotate or bool(self.exports)


def make_media(
    folder: Path,
    wanted: Wanted,
    videos: Iterable[ScoredVideo],
    model: ReportModel,
    point: OperatingPoint,
    decoder: Decoder,
) -> None:
    """Write what is wanted into a folder, video by video; what cannot be made of one is logged and left out.

    Raises UsageError if an export needs a video that is not at hand.
    """
    facts, events = dict[str, VideoFacts](), list[Event]()

    def made() -> Iterator[ReportVideo]:
        for video in videos:
            with _local(video) as path:
                facts[video.track.video_id] = _facts(video, path if "cvat" in wanted.exports else None, decoder)
                events.extend(video.events)
                yield _make(folder, wanted, video, path, point, decoder)

    if wanted.report:
        write_report(folder / REPORT, model, made())
    else:
        for _ in made():
            pass
    for name in wanted.exports:
        (folder / EXPORTS).mkdir(exist_ok=True)
        export(name, events, facts, folder / EXPORTS, model.classes)


def _make(
    folder: Path, wanted: Wanted, video: ScoredVideo, path: Path | None, point: OperatingPoint, decoder: Decoder
) -> ReportVideo:
    """Make clips, copy and preview of a video, and return what the report needs of it."""
    track, events, fps = video.track, video.events, len(video.track.scores) / video.track.seconds
    if path is not None and wanted.clips and events:
        (folder / CLIPS).mkdir(exist_ok=True)
        _or_none("clips", video, lambda: cut_clips(decoder.frames(path, fps), events, folder / CLIPS))
    if path is not None and wanted.annotate:
        (folder / ANNOTATED).mkdir(exist_ok=True)
        target = folder / ANNOTATED / f"{track.video_id}.mp4"
        _or_none("annotated copy", video, lambda: annotate(decoder.frames(path, fps), target, track, events, point))
    shown, frames, peaks = None, None, _peaks(events)
    if path is not None and wanted.report:
        shown = _or_none("preview", video, lambda: _played(folder / REPORT, video, path, fps, decoder))
        frames = _or_none("pictures", video, lambda: key_frames(decoder.frames(path, height=PICTURE_HEIGHT), peaks))
    return ReportVideo(track, events, shown, video.row["source"], video.truth(), frames or {})


def _played(report: Path, video: ScoredVideo, path: Path, fps: float, decoder: Decoder) -> str | None:
    """Return what a browser plays: the video itself, else a small copy beside the report if it has events."""
    if plays_in_browser(path, decoder) and "://" not in video.row["source"]:
        return path.as_uri()
    if not video.events:
        return None
    (report / PREVIEWS).mkdir(parents=True, exist_ok=True)
    frames = decoder.frames(path, fps, PREVIEW_HEIGHT)
    write_preview(frames, report / PREVIEWS / f"{video.track.video_id}.mp4")
    return f"{PREVIEWS}/{video.track.video_id}.mp4"


def _peaks(events: Sequence[Event]) -> list[int]:
    ordered = sorted(events, key=lambda event: -event.peak)
    return [event.peak_frame for event in ordered[:MOST_PICTURES]]


def _facts(video: ScoredVideo, path: Path | None, decoder: Decoder) -> VideoFacts:
    size = None if path is None else _or_none("size", video, lambda: _size(path, decoder))
    frames, seconds = len(video.track.scores), video.track.seconds
    height, width = size or (None, None)
    return VideoFacts(video.row["source"], frames, frames / seconds, seconds, width, height)


def _size(path: Path, decoder: Decoder) -> tuple[int, int]:
    """Return height and width as displayed."""
    height, width, _ = next(decoder.frames(path)).pixels().shape
    return height, width


def _or_none(what: str, video: ScoredVideo, make: Callable[[], Made]) -> Made | None:
    try:
        return make()
    except DecodeError as error:
        log.warning("no %s of video %s: %s", what, video.track.video_id, error)
        return None


@contextmanager
def _local(video: ScoredVideo) -> Iterator[Path | None]:
    """Yield a video as a local path; None if it is not there, as may be with imported features."""
    with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
        try:
            path = fetch(video.row["source"], Path(folder))
            found = path if path.exists() else None
        except OSError as error:
            log.warning("video %s is not at hand: %s", video.track.video_id, " ".join(str(error).split()))
            found = None
        yield found
