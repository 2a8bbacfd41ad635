"""A hostile file costs its own row: it opens nothing else, and ends in one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anomalyclip.data.video import DecodeError, VideoReader, probe
from tests.hostile import encode, hostile_files, naming_files

READ = """
import sys
from pathlib import Path
from anomalyclip.data.video import DecodeError, VideoReader, probe

def read(path):
    for use in (probe, lambda path: list(VideoReader(path))):
        try:
            use(path)
        except DecodeError:
            pass

for path in sorted(Path(sys.argv[1]).glob("good.*")):
    read(path)  # imports what is imported late
Path("/begin" + "-of-reading").exists()
for path in sorted(Path(sys.argv[1]).iterdir()):
    read(path)
Path("/end" + "-of-reading").exists()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: apt-get install strace")
def test_no_file_and_no_address_that_a_hostile_video_names_is_opened(tmp_path: Path) -> None:
    secret = encode(tmp_path / "secret.ts")
    (folder := tmp_path / "videos").mkdir()
    written = {str(path) for path in naming_files(folder, secret)}
    assert len(written) > 200
    log = tmp_path / "calls"
    calls = "trace=open,openat,openat2,connect,socket,execve,newfstatat,stat,access"
    traced = ["strace", "-f", "-qq", "-s", "500", "-e", calls, "-o", str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*traced, sys.executable, "-c", READ, str(folder)], check=True, cwd=tmp_path, env=environment)
    _, _, reading = log.read_text().partition("/begin-of-reading")
    reading, end, _ = reading.partition("/end-of-reading")
    assert end and "good.mp4" in reading
    assert not re.search(r"\b(connect|socket|execve)\(", reading)
    opened = set(re.findall(r'\bopen(?:at2?)?\([^"]*"([^"]*)"', reading))
    assert opened <= written | {str(folder), *map(str, folder.glob("good.*"))}


def test_drawn_hostile_videos_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    secret = encode(tmp_path / "secret.ts")
    (folder := tmp_path / "videos").mkdir()
    for path in hostile_files(folder, seed=0, number=60, secret=secret):
        for use in (probe, lambda path: sum(map(len, VideoReader(path)))):
            try:
                assert use(path) >= 0
            except DecodeError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)
