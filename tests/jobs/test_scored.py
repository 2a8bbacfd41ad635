"""What a scoring job writes for people: tables whose cells are text."""

import csv
import json
from pathlib import Path

from anomalyclip.jobs.scored import EVENTS_CSV, EVENTS_JSONL, FAILURES, Failure, write_events, write_failures
from tests.events_found import event


def test_labels_and_names_that_look_like_formulas_are_text_in_the_tables(tmp_path: Path) -> None:
    write_events(tmp_path, [event(video_id="=cmd|' /C calc'!A0", label="=1+1"), event(label="<img onerror=x>")])
    with (tmp_path / EVENTS_CSV).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["video_id"], first["label"]) == ("'=cmd|' /C calc'!A0", "'=1+1")
    assert (second["label"], second["peak"]) == ("<img onerror=x>", "0.8")
    assert json.loads((tmp_path / EVENTS_JSONL).read_text().splitlines()[0])["label"] == "=1+1"
    write_failures(tmp_path, [Failure("@a", "/v/a.mp4", "-x")])
    with (tmp_path / FAILURES).open(newline="") as file:
        assert list(csv.reader(file))[1] == ["'@a", "/v/a.mp4", "'-x"]
