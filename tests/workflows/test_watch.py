"""The command: events of a file as scoring finds them, one watcher per folder, and nothing open after a kill."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anomalyclip import cli
from anomalyclip.errors import JobError, UsageError
from anomalyclip.jobs import watching as job
from anomalyclip.live.sinks.couriers import StandardOutput
from tests.commands import command, score
from tests.receivers import wait_until
from tests.watched import draw_video, watching, write_model

Row = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def watch(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Row, list[Row]]:
    """Run the command in this process; returns its result and its messages."""
    descriptor = os.open(folder / "stdout", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    monkeypatch.setattr(job, "standard_output", lambda: StandardOutput(descriptor))
    try:
        result = command("watch")([*arguments, "--storage", str(folder / "storage"), "--output", str(folder / "watch")])
    finally:
        os.close(descriptor)
    return result, [json.loads(line) for line in (folder / "stdout").read_text().splitlines()]


def spans(events: Sequence[Row]) -> list[tuple[str, float, float]]:
    return [(each["label"], each["start"], each["end"]) for each in events]


def test_a_file_has_the_events_that_scoring_finds_in_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = draw_video(tmp_path / "front.mp4", 7, [(1, 2.5), (4.4, 6)])
    options = ["--threshold", "0.5", "--set", "live.port=0"]
    result, messages = watch(tmp_path, monkeypatch, str(model), f"front={video}", *options)
    scored = score(
        [str(model), str(video), "--threshold", "0.5", "--no-report", "--storage", str(tmp_path / "storage")]
    )
    expected = [json.loads(line) for line in Path(scored["paths"]["events_jsonl"]).read_text().splitlines()]
    found = [each["after"] for each in messages if each["type"] == "end"]
    assert [each["label"] for each in found] == [each["label"] for each in expected] == ["Explosion"] * 2
    for own, offline in zip(spans(found), spans(expected), strict=True):
        assert own[1:] == pytest.approx(offline[1:], abs=0.1)
    assert result["type"] == "result" and (result["events"], result["alerts"], result["waiting"]) == (2, 2, {})
    assert result["frames"] + result["dropped"] == 175
    for event in found:
        assert (tmp_path / "watch" / event["clip"]).stat().st_size > 1000
        assert (tmp_path / "watch" / event["picture"]).read_bytes()[:2] == b"\xff\xd8"


def test_a_kill_leaves_nothing_open_and_one_process_works_on_a_folder(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, short = draw_video(tmp_path / "v.mp4", 60, [(1, 60)]), draw_video(tmp_path / "s.mp4", 1, [])
    told = [str(model), f"front={video}", "--threshold", "0.5"]
    with watching(tmp_path, *told) as run:
        wait_until(lambda: run.of("anomaly", "new"), 120)
        with pytest.raises(
            JobError, match=rf"watch {tmp_path}/watch: .*process {run.process.pid}, watch.py\) has worked"
        ):
            watch(tmp_path, monkeypatch, *told)
        with pytest.raises(UsageError, match=f"live.port={run.port}: Address already in use"):
            main = [str(model), str(video), "--threshold", "0.5", "--set", f"live.port={run.port}"]
            command("watch")([*main, "--storage", str(tmp_path / "other")])
        (new,) = run.of("anomaly", "new")
        run.process.send_signal(signal.SIGKILL)
        run.wait()
    arguments = [str(model), str(short), "--threshold", "0.5", "--set", "live.port=0"]
    _, messages = watch(tmp_path, monkeypatch, *arguments)
    ends = [each for each in messages if each["type"] == "end"]
    assert [(each["id"], each["reason"], each["before"]["label"]) for each in ends] == [
        (new["id"], "watch broke off", "Explosion")
    ]
    assert watch(tmp_path, monkeypatch, *arguments)[1] == []


def test_a_file_that_cannot_be_read_is_named_beside_the_result(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = draw_video(tmp_path / "good.mp4", 1, []), tmp_path / "bad.mp4"
    content = bytearray(good.read_bytes())
    content[content.index(b"moov") + 4 :] = bytes(len(content) - content.index(b"moov") - 4)
    bad.write_bytes(content)
    with pytest.raises(JobError, match="1 sources could not be read\n  bad: ") as failed:
        watch(tmp_path, monkeypatch, str(model), str(good), str(bad), "--threshold", "0.5", "--set", "live.port=0")
    assert cli.as_json(failed.value.result)["frames"] > 0


def test_a_signal_to_look_for_another_model_does_not_end_the_start() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(UsageError):
            command("watch")(["model", "front=", "--reload", "-1"])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
