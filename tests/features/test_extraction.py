import os
import re
import resource
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import polars as pl
import psutil
import pytest

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import VideoReader
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.sources import content_hash, stamp
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage, scratch

DrawVideo = Callable[..., Path]
SETTINGS = ExtractionConfig(batch_size=16)


def mean_colours(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=(1, 2)).astype(np.float16)[:, None]


@pytest.fixture
def store(storage: Storage) -> FeatureStore:
    return FeatureStore(storage, "print")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(timeout=20)
    yield decoder
    decoder.close()


def decoder_processes() -> list[psutil.Process]:
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "data.decoder_process" in " ".join(child.cmdline())]


def leftovers() -> list[Path]:
    return list(scratch().glob("extract-*")) + [path for path in shared_memory() if path not in BEFORE]


def shared_memory() -> list[Path]:
    return list(Path("/dev/shm").glob("anomalyclip-frames-*"))


BEFORE = shared_memory()  # of other processes, perhaps killed ones


def test_features_are_those_of_every_nth_frame(
    store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path
) -> None:
    video = str(draw_video(tmp_path / "a.mp4", num_frames=50))
    settings = SETTINGS.model_copy(update={"sampling_rate": 3})

    every = extract_video(video, mean_colours, FeatureStore(store.storage, "1"), SETTINGS, decoder)
    third = extract_video(video, mean_colours, store, settings, decoder)
    store.record([third])

    assert (every.frames, third.frames, third.num_frames, third.fps, third.error) == (50, 17, 50, 25.0, None)
    other = FeatureStore(store.storage, "1")
    assert np.array_equal(store.read_features(video), other.read_features(other.object_key(every.hash or ""))[::3])


def test_decoder_never_overtakes_its_reader(decoder: Decoder, draw_video: DrawVideo, tmp_path: Path) -> None:
    video = draw_video(tmp_path / "a.mp4", num_frames=400)
    batches = decoder.batches(video, sampling_rate=1, batch_size=8)
    first = next(batches)

    expected = list(VideoReader(video, batch_size=8))

    assert np.array_equal(first, expected[0])
    for batch, reference in zip(batches, expected[1:], strict=True):
        assert np.array_equal(batch, reference)


def test_same_content_is_not_decoded_twice(
    store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = draw_video(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(first.read_bytes())
    extract_video(str(first), mean_colours, store, SETTINGS, decoder)
    monkeypatch.setattr(decoder, "batches", lambda *_: pytest.fail("decoded again"))

    again = extract_video(str(tmp_path / "b.mp4"), mean_colours, store, SETTINGS, decoder)

    assert (again.frames, again.hash) == (24, content_hash(first))


def test_features_of_sideways_frames_are_not_taken_for_those_of_a_rotated_video(
    store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path
) -> None:
    plain, phone = draw_video(tmp_path / "plain.mp4"), draw_video(tmp_path / "phone.mp4", rotation=90)
    sideways = []
    for video in (plain, phone):  # as they were made before rotation was applied
        with FeatureWriter(tmp_path / "old.parquet", 1) as writer:
            writer.append(np.zeros((24, 1, 3), np.float16))
            writer.describe({"num_frames": "24", "fps": "25.0"})
        store.publish(tmp_path / "old.parquet", content_hash(video))
        sideways.append(ExtractionResult(str(video), *stamp(str(video)), content_hash(video), 24, 24))
    store.record(sideways)
    old = pl.read_parquet(store.storage.path(f"{store.key}/index.parquet")).drop("rotated")
    old.write_parquet(store.storage.path(f"{store.key}/index.parquet"))
    assert set(store.missing([str(plain), str(phone)])["video"]) == {str(plain), str(phone)}

    shapes = []

    def watch(frames: np.ndarray) -> np.ndarray:
        shapes.append(frames.shape[1:])
        return mean_colours(frames)

    results = [extract_video(str(video), watch, store, SETTINGS, decoder) for video in (plain, phone)]
    again = extract_video(str(phone), watch, store, SETTINGS, decoder)
    store.record(results)

    assert set(shapes) == {(64, 48, 3)}  # the phone's alone, upright
    assert (results[0].hash, results[0].rotated) == (content_hash(plain), False)
    assert (results[1].hash != content_hash(phone), results[1].rotated) == (True, True)
    assert (again.hash, again.frames, again.rotated) == (results[1].hash, 24, True) and len(shapes) == 2
    assert store.read_features(str(phone)).any() and not store.read_features(str(plain)).any()
    assert store.missing([str(plain), str(phone)]).is_empty()


@pytest.mark.parametrize("sent, reason", [(signal.SIGSEGV, "died .SIGSEGV."), (signal.SIGSTOP, "hung")])
def test_decoder_that_crashes_or_hangs_costs_one_video(
    sent: signal.Signals, reason: str, store: FeatureStore, draw_video: DrawVideo, tmp_path: Path
) -> None:
    long, short = draw_video(tmp_path / "a.mp4", num_frames=200), draw_video(tmp_path / "b.mp4", seed=1)
    decoder, hit = Decoder(timeout=1), list[psutil.Process]()

    def hit_decoder(frames: np.ndarray) -> np.ndarray:
        if not hit:
            hit.extend(decoder_processes())
            os.kill(hit[0].pid, sent)
            # the next word to the decoder finds it dead, its last thread and its end of the connection gone
            os.waitid(os.P_PID, hit[0].pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        return mean_colours(frames)

    lost = extract_video(str(long), hit_decoder, store, SETTINGS, decoder)
    kept = extract_video(str(short), mean_colours, store, SETTINGS, Decoder(timeout=20))

    assert lost.error is not None
    assert re.search(reason, lost.error)
    assert (kept.error, kept.frames) == (None, 24)
    assert store.storage.list(store.key) == [f"{kept.hash}.parquet"]
    assert leftovers() == []


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 999])
def test_bad_video_is_an_error_that_leaves_nothing_behind(
    damage: Callable[[bytes], bytes],
    store: FeatureStore,
    decoder: Decoder,
    draw_video: DrawVideo,
    tmp_path: Path,
) -> None:
    video = draw_video(tmp_path / "a.mp4")
    video.write_bytes(damage(video.read_bytes()))

    result = extract_video(str(video), mean_colours, store, SETTINGS, decoder)

    assert str(video) in (result.error or "")
    assert (result.hash, result.frames) == (content_hash(video), 0)
    assert store.storage.list(store.key) == [] == leftovers()


def test_missing_file_is_an_error(store: FeatureStore, decoder: Decoder) -> None:
    result = extract_video("/nowhere/a.mp4", mean_colours, store, SETTINGS, decoder)

    assert (result.error, result.size, result.hash) == ("/nowhere/a.mp4: no such file", -1, None)


def test_a_fault_that_may_pass_is_no_fault_of_the_video(
    store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(source: str, folder: Path) -> Path:
        raise OSError("AWS Error SLOW_DOWN during GetObject")

    monkeypatch.setattr("anomalyclip.features.extraction.fetch", throttled)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        extract_video(str(draw_video(tmp_path / "a.mp4")), mean_colours, store, SETTINGS, decoder)


def test_fault_of_the_encoder_is_no_fault_of_the_video(
    store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path
) -> None:
    def fail(frames: np.ndarray) -> np.ndarray:
        raise MemoryError("out of memory")

    with pytest.raises(MemoryError):
        extract_video(str(draw_video(tmp_path / "a.mp4")), fail, store, SETTINGS, decoder)
    assert store.storage.list(store.key) == [] == leftovers()


def test_memory_does_not_grow_with_the_length_of_a_video(
    store: FeatureStore, draw_video: DrawVideo, tmp_path: Path
) -> None:
    peaks = []
    for minutes in (1, 20):
        video = draw_video(tmp_path / f"{minutes}.mp4", num_frames=minutes * 60 * 5, fps=5)
        decoder, peak = Decoder(timeout=20), 0

        def watch(frames: np.ndarray) -> np.ndarray:
            nonlocal peak
            processes = [psutil.Process(), *decoder_processes()]
            peak = max(peak, sum(process.memory_info().rss for process in processes))
            return np.repeat(mean_colours(frames), 64, axis=2)

        assert extract_video(str(video), watch, store, SETTINGS, decoder).error is None
        decoder.close()
        peaks.append(peak)

    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("times, error", [(2, None), (3, "the decoder was killed, 3 times: --retry tries it again")])
def test_a_killed_decoder_is_tried_again_twice(
    times: int, error: str | None, store: FeatureStore, decoder: Decoder, draw_video: DrawVideo, tmp_path: Path
) -> None:
    video, killed = draw_video(tmp_path / "a.mp4", num_frames=200), list[psutil.Process]()

    def kill_decoder(frames: np.ndarray) -> np.ndarray:
        if len(killed) < times and (running := [each for each in decoder_processes() if each not in killed]):
            killed.extend(running)
            os.kill(running[0].pid, signal.SIGKILL)
            os.waitid(os.P_PID, running[0].pid, os.WEXITED | os.WNOWAIT)
        return mean_colours(frames)

    result = extract_video(str(video), kill_decoder, store, SETTINGS, decoder)
    store.record([result])

    assert (len(killed), result.killed) == (times, error is not None)
    assert (result.error, result.frames) == ((None, 200) if error is None else (f"{video}: {error}", 0))
    assert store.quarantine()["killed"].to_list() == [True] * (error is not None)
    assert leftovers() == []


def test_short_memory_is_no_fault_of_the_video(
    store: FeatureStore, draw_video: DrawVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef full(*_):\n    raise OSError(28, 'No space left on device')\nos.posix_fallocate = full\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with closing(Decoder(timeout=20)) as decoder:
        result = extract_video(str(draw_video(tmp_path / "a.mp4")), mean_colours, store, SETTINGS, decoder)
    assert result.killed
    assert "no memory for 294912 bytes of its frames" in (result.error or "")


def huge_video(folder: Path) -> Path:
    """A video of one black frame of 16,000 x 16,000 pixels, 32 kB."""
    with av.open(str(folder / "huge.mov"), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16_000, 16_000, "monob"
        frame = av.VideoFrame(16_000, 16_000, "monob")
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode()])
    return folder / "huge.mov"


def huge_pictures(folder: Path) -> Path:
    """A folder of one black picture of 16,000 x 16,000 pixels, 31 kB."""
    (folder / "huge").mkdir()
    header = struct.pack(">IIBBBBB", 16_000, 16_000, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(2001 * 16_000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in chunks
    ]
    (folder / "huge" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return folder / "huge"


def peak_bytes(decoder: Decoder) -> int:
    """The most memory that a decoder's process held so far."""
    (process,) = decoder_processes()
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


@pytest.mark.parametrize(
    "draw, reason",
    [
        (huge_video, "frames of 16000 x 16000 pixels, more than extraction.max_pixels=35389440"),
        (huge_pictures, "more pixels than extraction.max_pixels allows"),
    ],
)
def test_frames_of_too_many_pixels_are_refused_before_memory_is_taken(
    draw: Callable[[Path], Path], reason: str, store: FeatureStore, decoder: Decoder, tmp_path: Path
) -> None:
    result = extract_video(str(draw(tmp_path)), mean_colours, store, SETTINGS, decoder)
    assert reason in (result.error or "")
    assert not result.killed
    assert peak_bytes(decoder) < 250 * 2**20


@pytest.mark.parametrize("draw", [huge_video, huge_pictures])
def test_a_decoder_that_takes_more_memory_than_frames_need_costs_one_video(
    draw: Callable[[Path], Path], store: FeatureStore, draw_video: DrawVideo, tmp_path: Path
) -> None:
    huge, small = draw(tmp_path), draw_video(tmp_path / "a.mp4")
    with closing(Decoder(20, 16_000**2)) as decoder:
        list(decoder.batches(small, 1, 16))
        (process,) = decoder_processes()
        resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().vms + 2**29,) * 2)
        lost = extract_video(str(huge), mean_colours, store, SETTINGS, decoder)
        kept = extract_video(str(small), mean_colours, store, SETTINGS, decoder)
        assert decoder_processes() == [process]
    assert lost.error is not None and not lost.killed
    assert (kept.error, kept.frames) == (None, 24)


def test_the_memory_of_a_decoder_is_bounded_by_the_pixels_of_a_frame(
    decoder: Decoder, draw_video: DrawVideo, tmp_path: Path
) -> None:
    list(decoder.batches(draw_video(tmp_path / "a.mp4"), 1, 16))
    (process,) = decoder_processes()
    most, _ = resource.prlimit(process.pid, resource.RLIMIT_AS)
    assert process.memory_info().vms < most < 5 * 2**30
