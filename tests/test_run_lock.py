import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace

import psutil
import pytest

from anomalyclip import run_lock
from anomalyclip.errors import JobError
from anomalyclip.owner import Owner, this_process
from anomalyclip.run_lock import Claim, exclusive
from anomalyclip.runs import find_run
from anomalyclip.storage import Storage

FOLDER = "runs/mine"
HOLDER = f"""
import sys, time
from anomalyclip.run_lock import exclusive
from anomalyclip.storage import Storage
with exclusive(Storage(sys.argv[1]), "{FOLDER}", "runs/mine"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.01)


def lock(storage: Storage) -> AbstractContextManager[None]:
    return exclusive(storage, FOLDER, FOLDER)


def claims(storage: Storage) -> list[str]:
    return [name for name in storage.list(FOLDER) if name.startswith("lock-")]


def elsewhere(
    storage: Storage, beat: int = 0, number: int = 1, replaces: tuple[str, ...] = (), token: str = "f" * 32
) -> Claim:
    """Write the claim of a process of another machine."""
    owner = replace(this_process("alice"), host="gpu-3", machine="another", token=token)
    claim = Claim(owner, 0.0, number, beat, replaces)
    storage.write_json(f"{FOLDER}/lock-{owner.token}.json", asdict(claim))
    return claim


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end


@contextmanager
def holder(storage: Storage) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, storage.root], text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("place", "times"), [("storage", 10), ("s3_storage", 1)])
def test_of_six_at_once_one_wins_and_the_others_are_told_who(
    place: str, times: int, request: pytest.FixtureRequest
) -> None:
    storage: Storage = request.getfixturevalue(place)
    for _ in range(times):
        together, done, ends = threading.Barrier(6), threading.Barrier(6), list[str]()

        def work(together: threading.Barrier, done: threading.Barrier, ends: list[str]) -> None:
            together.wait()
            try:
                with lock(storage):
                    ends.append("won")
                    done.wait()
            except JobError as error:
                ends.append(str(error))
                done.wait()

        threads = [threading.Thread(target=work, args=(together, done, ends)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends.count("won") == 1
        told = {end for end in ends if end != "won"}
        assert all(f"runs/mine: {this_process().by} on" in end and f"process {os.getpid()}" in end for end in told)
        assert claims(storage) == []


def test_a_killed_process_of_this_machine_blocks_nobody(storage: Storage) -> None:
    with holder(storage) as process:
        with (
            pytest.raises(JobError, match=rf"process {process.pid}.* has worked on it since 20.*same command"),
            lock(storage),
        ):
            pass
        os.kill(process.pid, signal.SIGKILL)
        # not collected by its parent, as in a container without an init
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        with lock(storage):
            assert len(claims(storage)) == 1
    assert claims(storage) == []


def test_a_process_of_another_machine_is_replaced_once_it_gives_no_sign_of_life(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "STALE_SECONDS", 0.1)
    dead = elsewhere(storage)
    with lock(storage):
        (name,) = claims(storage)
        assert storage.read_json(f"{FOLDER}/{name}")["replaces"] == [dead.owner.token]
    assert claims(storage) == []


def test_a_living_process_of_another_machine_is_not_replaced_whatever_its_clock_says(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(storage)
    waits: list[float] = []

    def beat(seconds: float) -> None:
        assert not waits, "it was seen to live"
        waits.append(seconds)
        elsewhere(storage, beat=1)

    monkeypatch.setattr(time, "sleep", beat)
    with (
        pytest.raises(JobError, match=r"runs/mine: alice on gpu-3 \(process \d+.*\) has worked on it since 1970"),
        lock(storage),
    ):
        pass
    assert claims(storage) == [f"lock-{'f' * 32}.json"]


@pytest.mark.parametrize("how", ["replaced", "removed", "shown late"])
def test_a_holder_that_was_replaced_stops(storage: Storage, how: str) -> None:
    with pytest.raises(JobError, match="gave no sign of life"), lock(storage):
        (name,) = claims(storage)
        token = name.removeprefix("lock-").removesuffix(".json")
        if how == "replaced":
            elsewhere(storage, number=2, replaces=(token,))
        elif how == "removed":
            storage.delete(FOLDER)
        else:
            elsewhere(storage, token="0" * 32)
        threading.Event().wait(20)
        pytest.fail("it went on")


def test_a_store_that_does_not_answer_for_a_moment_does_not_end_the_work(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with lock(storage):
        with monkeypatch.context() as away:
            away.setattr(Storage, "exists", lambda self, key: (_ for _ in ()).throw(OSError("away")))
            until(lambda: "no sign of life could be written (away)" in caplog.text)
        caplog.clear()
        (name,) = claims(storage)
        before = storage.read_json(f"{FOLDER}/{name}")["beat"]
        until(lambda: storage.read_json(f"{FOLDER}/{name}")["beat"] > before)


def test_a_fresh_start_keeps_the_lock_and_removes_all_else(storage: Storage) -> None:
    storage.write(f"{FOLDER}/checkpoints/x", b"")
    storage.write(f"{FOLDER}/result.json", b"{}")
    run = find_run(storage, "runs", "mine", "", {"seed": 1}, fresh=True)
    with run.exclusive():
        run.start(fresh=True)
        assert storage.list(FOLDER) == [*claims(storage), "run.json"]
        assert len(claims(storage)) == 1


def test_a_process_is_known_by_its_start_not_by_its_number() -> None:
    here = this_process()
    assert not here.is_gone()
    assert replace(here, started=here.started - 1).is_gone()
    assert not replace(here, started=here.started - 1, machine="another").is_gone()
    assert "--" not in here.command and Owner(**asdict(here)) == here
