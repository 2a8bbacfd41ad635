"""Verdicts: every fault of a file at once, and the latest verdict on an event counts."""

from pathlib import Path
from typing import Any

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.events.verdicts import Reviewed, latest, read_reviews, read_verdicts, write_reviews
from tests.judged import save_verdicts, verdict


def read(folder: Path, *verdicts: dict[str, Any], **head: Any) -> list[Any]:
    return read_verdicts(save_verdicts(folder / "verdicts.json", verdicts, **head))


def test_a_verdict_has_the_reviewer_and_the_model_of_its_file(tmp_path: Path) -> None:
    (found,) = read(tmp_path, verdict("/v/a.mp4", 10, 29, "true", corrected_label="Arson", more="ignored"))
    assert (found.reviewer, found.model, found.right_label, found.fps) == ("Ada", "anomalyclip/3", "Arson", 10.0)
    assert found.event == ("/v/a.mp4", 10, 29) and found.decided_at.isoformat() == "2026-11-26T01:00:00+00:00"


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not JSON"), ("[]", "holds no verdicts"), ('{"schema_version": 1}', "holds no verdicts"),
    ('{"schema_version": 2, "verdicts": []}', "schema_version 2; this version of the program reads 1"),
])  # fmt: skip
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "verdicts.json").write_text(content)
    with pytest.raises(UsageError, match=message) as raised:
        read_verdicts(tmp_path / "verdicts.json")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("fields", "message"), [
    ({"start": 5.0, "end": 1.0}, "5 to 1 s cannot be frames 0 to 9"),
    ({"start": 0.0, "end": 5e-324}, "0 to 4.94066e-324 s cannot be frames 0 to 9"),
    ({"source": "/v/a\0.mp4"}, "source holds a NUL character"),
    ({"source": "/v/\ud800.mp4"}, "text that is not Unicode: '.ud800'"),
])  # fmt: skip
def test_what_no_report_writes_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, {**verdict("/v/a.mp4", 0, 9, "true"), **fields})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"verdicts\.json cannot be read: No such file"):
        read_verdicts(tmp_path / "verdicts.json")


def test_all_faults_are_told_with_the_number_of_the_verdict(tmp_path: Path) -> None:
    good = verdict("/v/a.mp4", 0, 9, "true")
    faulty = [
        {**good, "verdict": "maybe"}, {**good, "start_frame": -1}, {**good, "decided_at": "yesterday"},
        {**good, "decided_at": "2026-11-26T01:00:00"}, {**good, "end_frame": 0, "start_frame": 3},
        {**good, "video_id": "../../a"}, {**good, "label": "Normal"}, {**good, "label": "a|b"}, "text",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"has 9 fault\(s\)") as raised:
        read(tmp_path, good, *faulty)
    lines = str(raised.value).splitlines()[1:]
    assert [line.split(":")[0].split(",")[0].strip() for line in lines] == [f"verdict {n}" for n in range(2, 11)]
    for line, word in zip(
        lines,
        (
            "'true', 'false' or 'unsure'",
            "greater",
            "datetime",
            "timezone",
            "ends before",
            "safe",
            "judge it false",
            "| ; :",
            "dict",
        ),
        strict=True,
    ):
        assert word in line


def test_the_latest_verdict_on_an_event_counts_wherever_it_stands(tmp_path: Path) -> None:
    first, second = "2026-11-26T01:00:00Z", "2026-11-26T03:30:00+02:00"  # half an hour later
    found = read(
        tmp_path,
        verdict("/v/b.mp4", 0, 9, "true", decided_at=second), verdict("/v/b.mp4", 0, 9, "false", decided_at=first),
        verdict("/v/a.mp4", 0, 9, "true", decided_at=first), verdict("/v/a.mp4", 0, 9, "unsure", decided_at=second),
        verdict("/v/a.mp4", 20, 29, "true"), verdict("/v/a.mp4", 20, 29, "true"),
    )  # fmt: skip
    assert [(each.source, each.start_frame, each.verdict) for each in latest(found)] == [
        ("/v/a.mp4", 0, "unsure"), ("/v/a.mp4", 20, "true"), ("/v/b.mp4", 0, "true"),
    ]  # fmt: skip


def test_reviews_come_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    (found,) = read(tmp_path, verdict("/v/ä.mp4", 10, 29, "true"))
    reviews = [Reviewed(**dict(found), row="a"), Reviewed(**dict(found), row=None)]
    write_reviews(reviews, tmp_path / "m.csv")
    assert read_reviews(tmp_path / "m.csv") == reviews
    assert read_reviews(tmp_path / "other.csv") == []
    (tmp_path / "m.reviews.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=r"m\.reviews\.jsonl is damaged"):
        read_reviews(tmp_path / "m.csv")
