"""What is given to a watch is checked before anything is loaded, and signals end it in order."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs import watching
from anomalyclip.jobs.operating import Asked
from anomalyclip.jobs.watching import OUTBOX, Watching
from anomalyclip.live.sinks import webhook
from anomalyclip.storage import Storage

Prepare = Callable[..., Watching]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)

    def call(*sources: str, root: str = "", **given: object) -> Watching:
        job = Job(Storage(root or str(tmp_path / "root")), RunConfig(), None, False, "")
        common = {"webhooks": [], "brokers": [], "output": None, "reload": 0, **given}
        return watching.prepare(job, "model", sources or ("front=rtsp://camera/live",), Asked(), **common)

    return call


def test_sinks_have_names_of_their_own_that_show_no_secret(prepare: Prepare) -> None:
    urls = ["https://u:hunter2@hooks/T0KEN", "https://hooks/other"]
    found = prepare(webhooks=urls, brokers=["mqtt://u:hunter2@broker/site"])
    names = [sink.name for sink in found.sinks]
    assert names == ["stdout", "webhook https://hooks", "webhook https://hooks (2)", "mqtt://broker:1883"]
    assert "hunter2" not in "".join(sink.key for sink in found.sinks)
    with pytest.raises(UsageError, match="webhook https://hooks is given twice"):
        prepare(webhooks=[urls[0], urls[0].replace("hunter2", "other")])


def test_results_go_below_the_storage_root_or_where_they_are_told(prepare: Prepare, tmp_path: Path) -> None:
    assert prepare().folder == tmp_path / "root" / "live"
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / OUTBOX).write_bytes(b"")
    (tmp_path / "used" / "lock-1.json").write_bytes(b"")
    assert prepare(output=tmp_path / "used").folder == tmp_path / "used"
    (tmp_path / "used" / OUTBOX).rename(tmp_path / "used" / "mine.txt")
    with pytest.raises(UsageError, match="used exists, and is not of a watch: give a new folder"):
        prepare(output=tmp_path / "used")
    with pytest.raises(UsageError, match="exists, and is not of a watch"):
        prepare(output=tmp_path / "used" / "mine.txt")
    with pytest.raises(UsageError, match="need a folder of this machine: give --output FOLDER"):
        prepare(root="mock:///bucket")


def test_a_secret_that_is_none_and_a_source_that_is_none_are_refused(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"nothing\.mp4"):
        prepare("nothing.mp4")
    monkeypatch.setenv(webhook.SECRET, "short")
    with pytest.raises(UsageError, match=f"{webhook.SECRET} must be whsec_"):
        prepare(webhooks=["https://hooks/x"])


def test_signals_are_noted_and_a_second_interrupt_is_python_s_own() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with watching._told() as told:
        os.kill(os.getpid(), signal.SIGHUP)
        assert told.reload.wait(5) and not told.stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert told.stop.wait(5) and told.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert {each: signal.getsignal(each) for each in before} == {
        each: signal.SIG_DFL if handler is None else handler for each, handler in before.items()
    }
    assert threading.current_thread() is threading.main_thread()


def test_a_signal_that_comes_while_the_loop_begins_to_wait_does_not_block_it() -> None:
    def blocked(*_: object) -> None:
        raise AssertionError("the handler waits for a lock that the interrupted code holds")

    before = signal.signal(signal.SIGALRM, blocked)
    try:
        with watching._told() as told:
            with told.stop._cond:  # type: ignore[attr-defined]  # as in the middle of told.stop.wait
                signal.setitimer(signal.ITIMER_REAL, 1.0)
                os.kill(os.getpid(), signal.SIGTERM)
            assert told.stop.wait(5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
