"""Long work is never silent, and says what it is doing."""

import logging
import threading
from collections.abc import Iterator

import pytest

from anomalyclip import progress


class Heard(logging.Handler):
    """Tells when a line with a text was logged."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.event = text, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.event.set()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    level = progress.log.level
    progress.log.setLevel(logging.INFO)
    yield
    progress.log.setLevel(level)


def test_silent_work_says_what_it_is_doing() -> None:
    heard = Heard("train: ")
    progress.log.addHandler(heard)
    try:
        with progress.watch(), progress.working("train"):
            assert heard.event.wait(30)
    finally:
        progress.log.removeHandler(heard)


def test_nothing_is_said_after_the_work(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    with progress.watch():
        pass
    assert threading.active_count() == before


def test_a_failure_inside_leaves_the_work_before_it() -> None:
    with pytest.raises(ValueError, match="inner"), progress.working("inner"):
        raise ValueError("inner")
    assert progress._doing[-1][0] == "prepare"


def test_without_a_terminal_a_bar_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar(2, "videos") as bar:
        bar.update(1, "3 frames/s", 4.0)
    assert capsys.readouterr().err == ""
