"""The report's file: whatever the data hold, it is one safe file that appears whole, written video by video."""

import json
import weakref
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from anomalyclip.report.page import ReportVideo, write_report
from tests.reported import event, model, scored

EVIL = "</script><script>window.hacked = 1</script>\"'&amp;\u2028<!--"


class Blocks(HTMLParser):
    """The JSON blocks of a page as a browser finds them, by class or id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[Any]] = {"video": [], "detail": [], "report": []}
        self.scripts = 0
        self._block = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self._block = names.get("class") or names.get("id") or "" if tag == "script" else ""
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        if self._block:
            self.found[self._block].append(json.loads(data))
            self._block = ""


def read(file: Path) -> Blocks:
    return Blocks(file.read_text(encoding="utf-8"))


def test_strings_with_markup_come_back_as_they_are_and_make_no_element(tmp_path: Path) -> None:
    video = scored(EVIL, [event(EVIL, 0, 1, EVIL)], address=f"{EVIL}.mp4", truth=[(0, 1, EVIL)])
    blocks = read(write_report(tmp_path, model(name=EVIL, note=EVIL, created=EVIL), [video]))
    assert blocks.scripts == 5  # video, detail, report, uPlot, the page's own
    (found,) = blocks.found["video"]
    assert (found["video_id"], found["source"], found["events"][0]["label"]) == (EVIL, f"/videos/{EVIL}", EVIL)
    assert blocks.found["detail"][0]["truth"] == [[0, 1, EVIL]]
    assert blocks.found["report"][0]["model"] == EVIL


def test_a_name_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    name = b"caf\xe9.mp4".decode(errors="surrogateescape")
    (found,) = read(write_report(tmp_path, model(), [scored(name)])).found["video"]
    assert found["video_id"] == name


def test_a_page_needs_no_other_file_and_no_network(tmp_path: Path) -> None:
    page = write_report(tmp_path, model(), [scored("v", [event("v", 0, 1, "Arson")])]).read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert " src=" not in page.partition("<script>")[0]
    assert "<link" not in page
    assert "default-src 'none'" in page


def test_a_path_is_quoted_and_a_file_uri_is_not(tmp_path: Path) -> None:
    videos = [scored("a", address="50% #1?.mp4"), scored("b", address="file:///v/a%20b.mp4"), scored("c")]
    found = read(write_report(tmp_path, model(), videos)).found["video"]
    assert [video["video"] for video in found] == ["50%25%20%231%3F.mp4", "file:///v/a%20b.mp4", None]


def test_key_frames_are_embedded_by_frame(tmp_path: Path) -> None:
    (detail,) = read(write_report(tmp_path, model(), [scored("v", frames={7: b"\xff\xd8"})])).found["detail"]
    assert {frame: b64decode(content) for frame, content in detail["frames"].items()} == {"7": b"\xff\xd8"}


def test_a_video_has_the_peak_of_its_events_and_without_any_that_of_its_scores(tmp_path: Path) -> None:
    videos = [scored("a", [event("a", 0, 1, "Arson", peak=0.7)]), scored("b")]
    found = read(write_report(tmp_path, model(), videos)).found["video"]
    assert [video["peak"] for video in found] == [0.7, 0.9]


def test_the_identity_is_that_of_model_and_events(tmp_path: Path) -> None:
    def identity(created: str = "now", end: int = 1, name: str = "m") -> str:
        videos = [scored("v", [event("v", 0, end, "Arson")])]
        (facts,) = read(write_report(tmp_path, model(name, created), videos)).found["report"]
        return str(facts["id"])

    assert identity(created="later") == identity()
    assert len({identity(), identity(end=2), identity(name="other")}) == 3


def test_no_more_than_two_videos_are_in_memory(tmp_path: Path) -> None:
    alive: list[weakref.ref[ReportVideo]] = []

    def videos() -> Iterator[ReportVideo]:
        for number in range(20):
            video = scored(f"v{number}")
            alive.append(weakref.ref(video))
            assert sum(one() is not None for one in alive) <= 2
            yield video

    assert len(read(write_report(tmp_path, model(), videos())).found["video"]) == 20


def test_a_report_that_fails_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    def broken() -> Iterator[ReportVideo]:
        yield scored("v")
        raise RuntimeError("no more")

    before = write_report(tmp_path, model(), []).read_bytes()
    with pytest.raises(RuntimeError, match="no more"):
        write_report(tmp_path, model(), broken())
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]
