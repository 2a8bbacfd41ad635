"""The decoder's process: what it says is what the functions say, and nothing is left of who is killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from anomalyclip.data import video
from anomalyclip.data.cuts import cut
from anomalyclip.data.datasets.folder import folder
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import DecodeError, DecoderKilledError, timed_frames
from tests.conftest import DrawVideo

READ = """
import sys, time
from pathlib import Path
from anomalyclip.data.decoder import Decoder

decoder, path = Decoder(), Path(sys.argv[1])
decoder.start()
if path.suffix == ".avi":
    next(decoder.batches(path, 1, 8))
print(decoder._process.pid, flush=True)
decoder.has_marks(path) if path.suffix == ".png" else time.sleep(60)
"""


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with closing(Decoder(timeout=20)) as started:
        yield started


@pytest.fixture
def clip(draw_video: DrawVideo, tmp_path: Path) -> Path:
    return draw_video(tmp_path / "a.avi", num_frames=60)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), np.full((96, 128, 3), 40 * number, np.uint8))
    return tmp_path / "frames"


def process_of(decoder: Decoder) -> psutil.Process:
    (found,) = [each for each in psutil.Process().children() if "data.decoder_process" in " ".join(each.cmdline())]
    return found


def test_it_says_what_the_functions_say(decoder: Decoder, clip: Path, frames: Path) -> None:
    for path in (clip, frames):
        assert decoder.probe(path) == video.probe(path)
        assert decoder.is_rotated(path) == video.is_rotated(path)
        pairs = zip(decoder.frames(path, 10, 40), timed_frames(path, 10, 40), strict=True)
        for number, (found, expected) in enumerate(pairs):
            assert found.seconds == expected.seconds
            assert number % 2 or np.array_equal(found.pixels(), expected.pixels())
    assert decoder.encoding(clip) == video.encoding(clip) == ("avi", "mpeg4", "yuv420p")
    assert (decoder.has_marks(frames / "0.png"), decoder.has_marks(frames / "1.png")) == (False, True)


def test_a_request_ends_the_frames_before_it_and_keeps_the_process(
    decoder: Decoder, clip: Path, frames: Path, tmp_path: Path
) -> None:
    kept = decoder.frames(clip)
    next(kept).pixels()
    started = process_of(decoder)
    assert next(decoder.frames(frames)).pixels().max() == 0
    assert list(kept) == []
    cut(decoder.frames(clip), {tmp_path / "cut.mp4": lambda index, _: index < 3})
    assert (decoder.probe(tmp_path / "cut.mp4"), process_of(decoder)) == (3, started)


@pytest.mark.parametrize("use", [
    lambda decoder, path: decoder.probe(path), lambda decoder, path: decoder.is_rotated(path),
    lambda decoder, path: decoder.encoding(path), lambda decoder, path: decoder.has_marks(path),
    lambda decoder, path: list(decoder.frames(path)), lambda decoder, path: list(decoder.batches(path, 1, 8)),
])  # fmt: skip
def test_what_is_no_video_is_a_line_and_the_process_serves_on(
    use: Callable[[Decoder, Path], object], decoder: Decoder, clip: Path, tmp_path: Path
) -> None:
    decoder.probe(clip)
    started = process_of(decoder)
    (tmp_path / "bad.mp4").write_bytes(b"x" * 999)
    with pytest.raises(DecodeError, match=r"^\S+bad.mp4: .+"):
        use(decoder, tmp_path / "bad.mp4")
    assert (decoder.probe(clip), process_of(decoder)) == (60, started)


def test_frames_of_too_many_pixels_are_refused(clip: Path) -> None:
    with closing(Decoder(20, max_pixels=1000)) as decoder, pytest.raises(DecodeError, match="more than extraction"):
        list(decoder.frames(clip))


def test_a_process_that_dies_between_two_frames_is_replaced(decoder: Decoder, clip: Path) -> None:
    read = decoder.frames(clip)
    frame = next(read)
    process_of(decoder).kill()
    with pytest.raises(DecoderKilledError):
        frame.pixels()
    read.close()  # type: ignore[attr-defined]
    assert decoder.probe(clip) == 60


def test_a_picture_that_takes_too_long_is_an_error(frames: Path) -> None:
    (frames / "0.png").unlink()
    os.mkfifo(frames / "x.png")
    with closing(Decoder(timeout=0.2)) as decoder, pytest.raises(DecodeError, match=r"x\.png|hung"):
        decoder.has_marks(frames / "x.png")


def test_no_foreign_picture_is_decoded_in_this_process(
    frames: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cv2.imdecode", "av.open"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("decoded here"))
    root = tmp_path / "mine"
    for label, source in (("Normal", frames), ("Riot", clip)):
        (root / label).mkdir(parents=True)
        source.rename(root / label / source.name)
    assert folder(root).table.height == 2


@pytest.mark.parametrize("hangs", [False, True])
def test_nothing_is_left_of_a_killed_caller(hangs: bool, clip: Path, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    os.mkfifo(tmp_path / "pipe.png")  # who opens it waits for ever
    line = [sys.executable, "-c", READ, str(tmp_path / "pipe.png" if hangs else clip)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=environment) as caller:
        assert caller.stdout is not None
        process = psutil.Process(int(caller.stdout.readline()))
        assert hangs or any("memfd:frames" in each.path for each in process.memory_maps())
        caller.kill()
    psutil.wait_procs([process], timeout=20)
    assert not process.is_running()
    assert set(Path("/dev/shm").iterdir()) <= before
