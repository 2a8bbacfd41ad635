"""Events as files that annotation tools and evaluators import: Label Studio, ActivityNet, CVAT."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.events.event import Event
from anomalyclip.storage import whole_file

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


@dataclass(frozen=True)
class VideoFacts:
    """What the formats need to know of a video."""

    source: str
    """Absolute path or URI."""
    frames: int
    fps: float
    """Mean frames per second."""
    seconds: float
    width: int | None
    height: int | None
    """Pixels as displayed; None if the video itself is not at hand."""


Videos = Mapping[str, VideoFacts]
"""Facts by video_id: all videos that were scored, with and without events."""


def export(
    format_name: str, events: Iterable[Event], videos: Videos, folder: Path, classes: Sequence[str] = ()
) -> Path:
    """Write events in a format of `EXPORTS` below `folder`; returns the new file or folder.

    `classes` are those that a person can correct an event to, besides those of the events. Raises UsageError for a
    format that needs the size of a video where it is unknown.
    """
    by_video: dict[str, list[Event]] = {video_id: [] for video_id in videos}
    for event in events:
        by_video[event.video_id].append(event)
    found = {event.label for of_video in by_video.values() for event in of_video}
    names = sorted((found | set(classes)) - {NORMAL}, key=lambda name: (name.casefold(), name))
    return EXPORTS[format_name](by_video, videos, folder, [_xml_text(name) for name in names])


def _label_studio(events: Mapping[str, list[Event]], videos: Videos, folder: Path, classes: list[str]) -> Path:
    """Tasks with predictions on the video's timeline, and the labelling configuration that they need.

    https://labelstud.io/tags/timelinelabels and https://labelstud.io/guide/predictions
    """
    folder = folder / "label-studio"
    view = Element("View")
    labels = SubElement(view, "TimelineLabels", name="event", toName="video")
    for name in classes:
        SubElement(labels, "Label", value=name)
    SubElement(view, "Video", name="video", value="$video", frameRate="$fps")
    _write_xml(view, folder / "config.xml", declaration=False)
    tasks = [_task(video_id, events[video_id], facts) for video_id, facts in videos.items()]
    return _write_json(tasks, folder / "tasks.json").parent


def _task(video_id: str, events: Sequence[Event], video: VideoFacts) -> dict[str, Any]:
    data = {"video": _address(video.source), "video_id": video_id, "fps": video.fps}
    if not events:
        return {"data": data}
    result = [_region(number, event, video.fps) for number, event in enumerate(events)]
    score = max(event.peak for event in events)
    return {"data": data, "predictions": [{"model_version": "anomalyclip", "score": score, "result": result}]}


def _region(number: int, event: Event, fps: float) -> dict[str, Any]:
    # its player counts frames from 1 and finds them by time, at a constant rate
    start = round(event.start * fps) + 1
    return {
        "id": f"event{number}",
        "type": "timelinelabels",
        "from_name": "event",
        "to_name": "video",
        "score": event.peak,
        "value": {
            "ranges": [{"start": start, "end": max(start, round(event.end * fps))}],
            "timelinelabels": [_xml_text(event.label)],
        },
    }


def _address(source: str) -> str:
    """Return a URL; a local file is served by Label Studio itself, below its document root `/`."""
    return source if "://" in source else f"/data/local-files/?d={quote(os.fsencode(source.lstrip('/')))}"


def _activitynet(events: Mapping[str, list[Event]], videos: Videos, folder: Path, classes: list[str]) -> Path:
    """Results of ActivityNet's detection task, as its evaluation code (`eval_detection.py`) reads them."""
    results = {
        video_id: [
            {"label": event.label, "score": event.peak, "segment": [event.start, event.end]}
            for event in events[video_id]
        ]
        for video_id in videos
    }
    content = {"version": "VERSION 1.3", "results": results, "external_data": {"used": True, "details": "CLIP"}}
    return _write_json(content, folder / "activitynet.json")


def _cvat(events: Mapping[str, list[Event]], videos: Videos, folder: Path, classes: list[str]) -> Path:
    """A file `CVAT for video 1.1` per video, which is a task of CVAT, and the labels for the task's raw editor.

    An event is a track of a box around the whole picture: https://docs.cvat.ai/docs/manual/advanced/xml_format
    """
    if unknown := [video_id for video_id, facts in videos.items() if not (facts.width and facts.height)]:
        raise UsageError(f"video {unknown[0]!r}: CVAT needs the size of its picture: give the video, not its features")
    folder = folder / "cvat"
    score = {"name": "score", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    _write_json([{"name": name, "attributes": [score]} for name in classes], folder / "labels.json")
    for video_id, facts in videos.items():
        _write_xml(_annotations(video_id, events[video_id], facts, classes), folder / f"{video_id}.xml")
    return folder


def _annotations(video_id: str, events: Sequence[Event], video: VideoFacts, classes: Sequence[str]) -> Element:
    root = Element("annotations")
    _text(root, "version", "1.1")
    task = SubElement(SubElement(root, "meta"), "task")
    for name, value in {"name": video_id, "size": video.frames, "mode": "interpolation"}.items():
        _text(task, name, value)
    labels = SubElement(task, "labels")
    for name in classes:
        label = SubElement(labels, "label")
        _text(label, "name", name)
        attribute = SubElement(SubElement(label, "attributes"), "attribute")
        for key, value in {"name": "score", "mutable": "False", "input_type": "text", "default_value": ""}.items():
            _text(attribute, key, value)
        _text(attribute, "values", "")
    size = SubElement(task, "original_size")
    _text(size, "width", video.width)
    _text(size, "height", video.height)
    for number, event in enumerate(events):
        _add_track(root, number, event, video)
    return root


def _add_track(root: Element, number: int, event: Event, video: VideoFacts) -> None:
    track = SubElement(root, "track", id=str(number), label=_xml_text(event.label), source="auto")
    whole = {"xtl": "0.00", "ytl": "0.00", "xbr": f"{video.width:.2f}", "ybr": f"{video.height:.2f}"}
    flags = {"occluded": "0", "keyframe": "1", "z_order": "0"}
    # a track ends at a box that is outside; without one it goes on to the last frame
    ends = [(event.start_frame, "0"), (event.end_frame + 1, "1")]
    for frame, outside in ends if event.end_frame + 1 < video.frames else ends[:1]:
        box = SubElement(track, "box", {"frame": str(frame), **whole, "outside": outside, **flags})
        _text(box, "attribute", f"{event.peak:.4f}").set("name", "score")


def _xml_text(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)


def _text(parent: Element, name: str, value: object) -> Element:
    child = SubElement(parent, name)
    child.text = _xml_text(str(value))
    return child


def _write_json(content: object, path: Path) -> Path:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2))
    return path


def _write_xml(root: Element, path: Path, declaration: bool = True) -> None:
    indent(root)
    with whole_file(path) as partial:
        ElementTree(root).write(partial, encoding="utf-8", xml_declaration=declaration)


EXPORTS: dict[str, Callable[[Mapping[str, list[Event]], Videos, Path, list[str]], Path]] = {
    "label-studio": _label_studio,
    "activitynet": _activitynet,
    "cvat": _cvat,
}
"""Formats by name."""
