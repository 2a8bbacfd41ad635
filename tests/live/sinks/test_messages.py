import json
import re

from anomalyclip.live.sinks.messages import Message, first_message


def test_messages_of_an_event_count_and_carry_what_was_told_before() -> None:
    new = first_message("7-front", "anomaly", "front", {"peak": 0.5})
    update = new.followed_by("update", {"peak": 0.9})
    end = update.followed_by("end", {"peak": 0.9, "end": 3.0}, "over")
    assert [each.message for each in (new, update, end)] == ["7-front/1", "7-front/2", "7-front/3"]
    assert [(each.type, each.before["peak"], each.after["peak"]) for each in (new, update, end)] == [
        ("new", 0.5, 0.5), ("update", 0.5, 0.9), ("end", 0.9, 0.9),
    ]  # fmt: skip
    assert [each.reason for each in (new, update, end)] == [None, None, "over"]


def test_a_message_is_one_line_of_json_that_is_read_again() -> None:
    message = first_message("7-front", "sight", "front", {"label": "camera\nlost", "share": None})
    line = message.as_json()
    assert "\n" not in line and Message.of_json(line) == message
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", json.loads(line)["time"])
