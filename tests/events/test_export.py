"""Exports: each file against the published format of the tool that imports it, with names that need escaping."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import jsonschema
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.events.event import Event
from anomalyclip.events.export import EXPORTS, VideoFacts, export
from tests.events_found import event

ODD = """Fight "1" <b> & 'co', 打架\x01"""
VIDEOS = {
    "a": VideoFacts("/videos/a b's & <1>.mp4", frames=100, fps=10.0, seconds=10.0, width=320, height=240),
    "b & <c>": VideoFacts("s3://bucket/b.mp4", frames=50, fps=12.5, seconds=4.0, width=64, height=48),
    "still": VideoFacts("/videos/still.mp4", frames=10, fps=10.0, seconds=1.0, width=64, height=48),
}
EVENTS = [
    event(),
    event(start_frame=90, end_frame=99, label=ODD, peak=0.9),
    event("b & <c>", start_frame=0, end_frame=0, fps=12.5, label="Arson"),
]


@pytest.fixture(params=EXPORTS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, export(request.param, EVENTS, VIDEOS, tmp_path, ["Normal", "Arson", "Burglary"])


def test_an_export_lies_below_the_folder_and_nothing_else(written: tuple[str, Path], tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == [written[1]]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("name", EXPORTS)
def test_no_event_at_all_is_exported_too(name: str, tmp_path: Path) -> None:
    assert export(name, [], VIDEOS, tmp_path).exists()


def test_file_names_that_are_not_unicode_are_written(tmp_path: Path) -> None:
    videos = {"a": VideoFacts("/videos/\udcff.mp4", 10, 10.0, 1.0, 64, 48)}
    for name in EXPORTS:
        export(name, [], videos, tmp_path)
    (task,) = json.loads((tmp_path / "label-studio" / "tasks.json").read_text())
    assert task["data"]["video"] == "/data/local-files/?d=videos/%FF.mp4"


# Label Studio: https://labelstud.io/guide/predictions ("JSON format for pre-annotations"),
# https://labelstud.io/tags/timelinelabels ("Sample Results JSON"), https://labelstud.io/tags/video (`frameRate`)
TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": {
                "type": "object",
                "required": ["video", "fps"],
                "properties": {"video": {"type": "string", "minLength": 1}, "fps": {"type": "number"}},
            },
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number"},
                        "result": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["id", "from_name", "to_name", "type", "value"],
                                "properties": {
                                    "id": {"type": "string"},
                                    "type": {"const": "timelinelabels"},
                                    "score": {"type": "number"},
                                    "value": {
                                        "type": "object",
                                        "required": ["ranges", "timelinelabels"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "ranges": {
                                                "type": "array",
                                                "minItems": 1,
                                                "maxItems": 1,
                                                "items": {
                                                    "type": "object",
                                                    "required": ["start", "end"],
                                                    "properties": {
                                                        "start": {"type": "integer", "minimum": 1},
                                                        "end": {"type": "integer", "minimum": 1},
                                                    },
                                                },
                                            },
                                            "timelinelabels": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": {"type": "string"},
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_label_studio_imports_the_tasks_with_the_configuration(tmp_path: Path) -> None:
    folder = export("label-studio", EVENTS, VIDEOS, tmp_path, ["Normal", "Arson", "Burglary"])
    tasks = json.loads((folder / "tasks.json").read_text())
    jsonschema.validate(tasks, TASKS)
    view = ElementTree.parse(folder / "config.xml").getroot()
    assert view.tag == "View"
    (video,), (control,) = view.findall("Video"), view.findall("TimelineLabels")
    # each variable of the configuration is in the data of every task
    for task in tasks:
        assert {video.get("value", "")[1:], video.get("frameRate", "")[1:]} <= set(task["data"])
    labels = {label.get("value") for label in control}
    assert labels == {"Arson", "Burglary", "Fighting", ODD.replace("\x01", "\ufffd")}
    # its check of a prediction: control and object exist, and belong together; labels are the control's; ids differ
    for task in tasks:
        for prediction in task.get("predictions", []):
            assert 0 <= prediction["score"] <= 1
            assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])
            for region in prediction["result"]:
                assert (region["from_name"], region["to_name"]) == (control.get("name"), control.get("toName"))
                assert region["to_name"] == video.get("name") and set(region["value"]["timelinelabels"]) <= labels
                (span,) = region["value"]["ranges"]
                assert span["start"] <= span["end"]


def test_label_studio_counts_frames_from_1_and_finds_local_files(tmp_path: Path) -> None:
    first, second, still = json.loads((export("label-studio", EVENTS, VIDEOS, tmp_path) / "tasks.json").read_text())
    spans = [region["value"]["ranges"][0] for region in first["predictions"][0]["result"]]
    assert spans == [{"start": 21, "end": 50}, {"start": 91, "end": 100}]
    assert second["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 1, "end": 1}]
    assert second["data"]["video"] == "s3://bucket/b.mp4" and second["data"]["fps"] == 12.5
    assert unquote(first["data"]["video"].split("?d=")[1]) == "videos/a b's & <1>.mp4"
    assert "predictions" not in still


def test_label_studio_gets_times_of_a_video_of_variable_rate(tmp_path: Path) -> None:
    late = Event(**{**vars(event()), "start": 8.0, "end": 9.0})  # frames 20 to 49 of 100, but late in the video
    folder = export("label-studio", [late], {"a": VIDEOS["a"]}, tmp_path)
    (task,) = json.loads((folder / "tasks.json").read_text())
    (region,) = task["predictions"][0]["result"]
    assert region["value"]["ranges"] == [{"start": 81, "end": 90}]


def import_prediction(content: dict[str, Any], activity_index: dict[str, int]) -> list[tuple[str, float, float, int]]:
    """The checks of ActivityNet's Evaluation/eval_detection.py (`_import_prediction`), restated."""
    assert set(content) >= {"results", "version", "external_data"}
    rows = []
    for video_id, results in content["results"].items():
        for result in results:
            start, end = result["segment"]
            assert 0 <= float(start) < float(end) and isinstance(result["score"], float)
            rows.append((video_id, float(start), float(end), activity_index[result["label"]]))
    return rows


def test_activitynets_evaluator_reads_the_results(tmp_path: Path) -> None:
    content = json.loads(export("activitynet", EVENTS, VIDEOS, tmp_path).read_text())
    index = {"Fighting": 0, ODD: 1, "Arson": 2}
    assert import_prediction(content, index) == [("a", 2.0, 5.0, 0), ("a", 9.0, 10.0, 1), ("b & <c>", 0.0, 0.08, 2)]
    assert content["results"]["still"] == []
    # the submission server also wants these
    assert isinstance(content["version"], str) and content["external_data"].keys() == {"used", "details"}


def load_anno(path: Path) -> list[tuple[str, list[tuple[int, bool, tuple[float, ...]]]]]:
    """What CVAT's importer (`load_anno`, format CVAT 1.1) reads of a file for videos: (label, shapes) of each track."""
    tracks = []
    for track in ElementTree.parse(path).getroot().iter("track"):
        shapes = []
        for box in track.findall("box"):
            corners = tuple(float(box.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
            assert {box.attrib[name] for name in ("outside", "occluded", "keyframe")} <= {"0", "1"}
            assert box.attrib["keyframe"] == "1" and all(attribute.get("name") for attribute in box)
            shapes.append((int(box.attrib["frame"]), box.attrib["outside"] == "1", corners))
        tracks.append((track.attrib["label"], shapes))
    return tracks


def test_cvat_reads_a_track_per_event(tmp_path: Path) -> None:
    folder = export("cvat", EVENTS, VIDEOS, tmp_path, ["Burglary"])
    assert sorted(path.name for path in folder.iterdir()) == ["a.xml", "b & <c>.xml", "labels.json", "still.xml"]
    whole = (0.0, 0.0, 320.0, 240.0)
    assert load_anno(folder / "a.xml") == [
        ("Fighting", [(20, False, whole), (50, True, whole)]),
        (ODD.replace("\x01", "\ufffd"), [(90, False, whole)]),  # up to the last frame
    ]
    assert load_anno(folder / "still.xml") == []


def test_cvats_file_has_the_documented_head(tmp_path: Path) -> None:
    folder = export("cvat", EVENTS, VIDEOS, tmp_path, ["Burglary"])
    root = ElementTree.parse(folder / "b & <c>.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None
    assert (task.findtext("name"), task.findtext("size"), task.findtext("mode")) == ("b & <c>", "50", "interpolation")
    assert (task.findtext("original_size/width"), task.findtext("original_size/height")) == ("64", "48")
    names = [label.findtext("name") for label in task.iter("label")]
    assert {label for label, _ in load_anno(folder / "a.xml")} <= set(names)
    # the labels of a new task, as its raw editor takes them
    labels = json.loads((folder / "labels.json").read_text())
    assert [label["name"] for label in labels] == names
    assert all(label["attributes"][0]["input_type"] == "text" for label in labels)


def test_cvat_without_the_size_of_the_picture_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    videos = {**VIDEOS, "features": VideoFacts("", 10, 10.0, 1.0, None, None)}
    with pytest.raises(UsageError, match=r"'features'.*not its features"):
        export("cvat", EVENTS, videos, tmp_path)
    assert not list(tmp_path.iterdir())
