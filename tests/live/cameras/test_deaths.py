"""A camera's process that dies or hangs is replaced, and nothing is left of one whose caller is killed."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from anomalyclip.config import LiveConfig
from anomalyclip.live.cameras import camera
from anomalyclip.live.cameras.sources import parse_sources
from tests.cameras import process_of, watching
from tests.streams import draw, http_server, numbers_in

CALLER = """
import sys
from anomalyclip.config import LiveConfig
from anomalyclip.live.cameras.camera import Camera
from anomalyclip.live.cameras.sources import parse_sources

camera = Camera(parse_sources([sys.argv[1]])[0], LiveConfig())
camera.start()
while not (taken := camera.take(1)).times.size:
    pass
camera.record("a", taken.times[0], __import__("pathlib").Path(sys.argv[2]))
print(camera._process.pid, flush=True)
while True:
    camera.take(1)
"""


def test_a_process_that_is_killed_is_replaced_and_clips_are_begun_again(video: Path, tmp_path: Path) -> None:
    with http_server(video) as server, watching(server.address("live.ts"), lost_after=0.3) as watched:
        watched.frames(5)
        killed = process_of(watched.camera)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # meant for the caller
            killed.send_signal(number)
        watched.frames(5)
        assert process_of(watched.camera) == killed
        watched.camera.record("a", watched.times[-1], tmp_path / "a.mp4")
        killed.kill()
        watched.until(lambda: "SIGKILL" in watched.camera.fault)
        watched.frames(5)
        assert watched.camera.fault == ""
    assert watched.sights[-2:] == ["lost", "ok"]
    assert np.all(np.diff(watched.numbers) >= 1) and np.all(np.diff(watched.times) > 0)
    found = numbers_in(tmp_path / "a.mp4")
    assert found == list(range(found[-1] + 1)) and found[-1] >= 3


def test_a_process_that_cannot_be_started_is_tried_again(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[float]()

    def fails(*_: object) -> None:
        tries.append(time.monotonic())
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(camera, "child", fails)
    watched = camera.Camera(parse_sources([str(video)])[0], LiveConfig())
    watched.start()
    while len(tries) < 2:
        assert watched.take(1).frames.size == 0 and not watched.take(1).ended
    assert watched.fault == "its process cannot be started: Cannot allocate memory"
    assert 0.9 < tries[1] - tries[0] < 5
    watched.close()


@pytest.mark.accept
def test_a_process_that_hangs_is_replaced(video: Path) -> None:
    with http_server(video) as server, watching(server.address("live.ts"), timeout=3.0) as watched:
        watched.frames(5)
        process_of(watched.camera).suspend()
        watched.until(lambda: watched.camera.fault == "its process hung")
        watched.frames(5)


@pytest.mark.accept
def test_a_file_whose_process_dies_has_ended(tmp_path: Path) -> None:
    with watching(draw(tmp_path / "a.mp4", 500)) as watched:
        watched.frames(5)
        process_of(watched.camera).kill()
        watched.camera.take(1)
        watched.until(lambda: watched.ended)
        assert "SIGKILL" in watched.camera.fault
        watched.camera.start()  # so that there is a process to end


def test_a_process_ends_with_its_caller_and_completes_its_clips(video: Path, tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    with http_server(video) as server:
        command = [sys.executable, "-c", CALLER, server.address("live.ts"), str(clip)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
            assert caller.stdout
            process = psutil.Process(int(caller.stdout.readline()))
            caller.kill()
        process.wait(30)
    assert numbers_in(clip) and [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
