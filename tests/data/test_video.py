"""Decoding: the right frames, bounded memory, and one clear error for whatever is wrong with a file."""

import pickle
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anomalyclip.data.video import DecodeError, VideoInfo, VideoReader, is_rotated, probe, timed_frames


def encode(
    path: Path, sizes: list[tuple[int, int]], codec: str = "libx264", container_format: str | None = None
) -> Path:
    """A video whose frame i is a flat grey of 8·(i mod 32), one entry of (height, width) a frame."""
    # the index in front, so that a file that is cut off still opens
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=10, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.height, stream.width = sizes[0]
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "yuvj420p"
        for index, (height, width) in enumerate(sizes):
            picture = np.full((height, width, 3), 8 * (index % 32), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("video") / "clip: 1.mp4", [(48, 70)] * 30)


def greys(path: Path, sampling_rate: int = 1, batch_size: int = 64) -> list[int]:
    frames = np.concatenate(list(VideoReader(path, sampling_rate, batch_size)))
    return [round(frame.mean() / 8) for frame in frames]


def test_all_frames_come_in_order_as_rgb_batches(clip: Path) -> None:
    reader = VideoReader(clip, batch_size=8)
    batches = list(reader)
    assert [batch.shape for batch in batches] == [(8, 48, 70, 3)] * 3 + [(6, 48, 70, 3)]
    assert batches[0].dtype == np.uint8
    assert greys(clip) == list(range(30))
    assert reader.info == VideoInfo(num_frames=30, fps=10.0)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_third_frame_is_kept_and_all_are_counted(clip: Path, batch_size: int) -> None:
    assert greys(clip, sampling_rate=3, batch_size=batch_size) == list(range(0, 30, 3))
    reader = VideoReader(clip, sampling_rate=7, batch_size=batch_size)
    assert sum(len(batch) for batch in reader) == 5
    assert reader.info.num_frames == 30


def test_pixels_are_those_of_the_library_with_padded_lines_too(clip: Path) -> None:
    with av.open(str(clip)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(np.concatenate(list(VideoReader(clip))), expected)


CORNERS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def encode_corners(path: Path, degrees: int, **flips: bool) -> Path:
    """A video of 48 x 64 pixels with red, green / blue, white corners, and a display matrix."""
    picture = np.zeros((48, 64, 3), np.uint8)
    for index, colour in enumerate(CORNERS.values()):
        picture[24 * (index // 2) :, 32 * (index % 2) :] = colour
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(degrees, **flips)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def corners(frame: np.ndarray) -> str:
    """Colours of the corners, row by row."""
    height, width, _ = frame.shape
    colours = (frame[y, x].astype(int) for y in (height // 4, -height // 4) for x in (width // 4, -width // 4))
    return "".join(min(CORNERS, key=lambda name: abs(CORNERS[name] - colour).sum()) for colour in colours)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize(("degrees", "expected"), [(0, "RGBW"), (90, "GWRB"), (180, "WBGR"), (270, "BRWG")])
def test_a_rotated_video_comes_as_players_show_it(tmp_path: Path, suffix: str, degrees: int, expected: str) -> None:
    path = encode_corners(tmp_path / f"phone.{suffix}", degrees)
    (batch,) = (reader := VideoReader(path))
    assert [corners(frame) for frame in batch] == [expected] * 4
    assert batch.shape == ((4, 48, 64, 3) if degrees in (0, 180) else (4, 64, 48, 3))
    assert reader.info == VideoInfo(4, 10.0, rotated=degrees != 0)
    assert is_rotated(path) == (degrees != 0)
    _, shown = cv2.VideoCapture(str(path)).read()  # OpenCV turns frames by the matrix too
    assert corners(shown[..., ::-1]) == expected
    np.testing.assert_allclose(batch[0], shown[..., ::-1], atol=3)


@pytest.mark.parametrize(("degrees", "flips", "expected"), [
    (0, {"hflip": True}, "GRWB"), (0, {"vflip": True}, "BWRG"),
    (90, {"hflip": True}, "WGBR"), (90, {"vflip": True}, "RBGW"),
])  # fmt: skip
def test_a_mirrored_video_comes_as_players_show_it(
    tmp_path: Path, degrees: int, flips: dict[str, bool], expected: str
) -> None:
    path = encode_corners(tmp_path / "front camera.mp4", degrees, **flips)
    (batch,) = VideoReader(path)
    assert corners(batch[0]) == expected and is_rotated(path)


def test_frames_are_turned_though_the_library_cannot_list_their_side_data(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24] = 255
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"  # to be shown a quarter turn clockwise
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    (tmp_path / "exif.mjpeg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + jpeg[2:])
    ((frame,),) = VideoReader(tmp_path / "exif.mjpeg")
    assert frame.shape == (64, 48, 3) and frame[:, :20].mean() < 9 and frame[:, 28:].mean() > 246


def test_batches_keep_their_content_while_reading_goes_on(clip: Path) -> None:
    batches = list(VideoReader(clip, batch_size=2))
    assert round(batches[0][0].mean()) == 0 and round(batches[5][1].mean() / 8) == 11


def test_batches_stay_under_the_byte_limit_with_at_least_one_frame(clip: Path) -> None:
    frame_bytes = 48 * 70 * 3
    assert {len(b) for b in VideoReader(clip, max_batch_bytes=3 * frame_bytes + 1)} == {3}
    assert {len(b) for b in VideoReader(clip, max_batch_bytes=1)} == {1}


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for length in (100, 600):
        path = encode(tmp_path / f"{length}.mp4", [(64, 64)] * length)
        tracemalloc.start()
        for batch in VideoReader(path, batch_size=16):
            del batch
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_frames_of_another_size_are_brought_to_the_first(tmp_path: Path) -> None:
    sizes = [(48, 64)] * 3 + [(96, 32)] * 2
    path = tmp_path / "sizes.mjpeg"
    parts = [encode(tmp_path / f"{i}.mjpeg", [size], "mjpeg", "mjpeg").read_bytes() for i, size in enumerate(sizes)]
    path.write_bytes(b"".join(parts))
    reader = VideoReader(path)
    assert [batch.shape for batch in reader] == [(5, 48, 64, 3)]


def test_info_is_refused_until_the_frames_are_exhausted(clip: Path) -> None:
    reader = VideoReader(clip, batch_size=4)
    frames = iter(reader)
    next(frames)
    with pytest.raises(RuntimeError):
        _ = reader.info


def test_probe_reads_the_header_or_counts_packets(clip: Path, tmp_path: Path) -> None:
    assert probe(clip) == 30
    with av.open(str(encode(tmp_path / "raw.mkv", [(48, 64)] * 12))) as container:
        assert container.streams.video[0].frames == 0
    assert probe(tmp_path / "raw.mkv") == 12


@pytest.mark.parametrize(("name", "codec"), [("c.mp4", "libx264"), ("c.MOV", "libx264"), ("c.avi", "mpeg4")])
def test_probe_notices_a_tail_that_is_gone_though_the_header_promises_everything(
    tmp_path: Path, name: str, codec: str
) -> None:
    options = {"movflags": "faststart"}
    with av.open(str(tmp_path / name), "w", options=options if codec == "libx264" else {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(40):
            noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / name).read_bytes()
    assert probe(tmp_path / name) == 40
    for left in (len(content) - 30, len(content) * 2 // 3):
        (tmp_path / name).write_bytes(content[:left])
        with pytest.raises(DecodeError, match=rf"cut off: {left} bytes of {len(content)}"):
            probe(tmp_path / name)


def damaged(clip: Path, kind: str) -> bytes:
    data = clip.read_bytes()
    return {
        "empty": b"",
        "text": b"not a video\n" * 99,
        "truncated": data[:-100],
        "garbled": data[: len(data) // 2] + bytes(range(1, 256)) * 9 + data[len(data) // 2 + 255 * 9 :],
        "playlist": b"ffconcat version 1.0\nfile good.mp4\n",
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "garbled", "playlist"])
def test_a_damaged_file_is_a_decode_error_of_one_line(tmp_path: Path, kind: str) -> None:
    good = encode(tmp_path / "good.mp4", [(48, 64)] * 90)
    (tmp_path / "bad.mp4").write_bytes(damaged(good, kind))
    reader = VideoReader(tmp_path / "bad.mp4")
    with pytest.raises(DecodeError, match=r"bad\.mp4: .+") as raised:
        list(reader)
    assert "\n" not in str(raised.value)
    with pytest.raises(RuntimeError):
        _ = reader.info


def test_the_error_names_the_frame_reached(tmp_path: Path) -> None:
    content = bytearray(encode(tmp_path / "good.mp4", [(48, 64)] * 90).read_bytes())
    content[-40:] = bytes(40)
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(DecodeError, match=r"at frame [1-9]\d$"):
        list(VideoReader(tmp_path / "bad.mp4"))
    (tmp_path / "bad.mp4").write_bytes(content[:32])
    with pytest.raises(DecodeError, match="at frame 0"):
        probe(tmp_path / "bad.mp4")


def test_a_missing_file_or_stream_is_a_decode_error(tmp_path: Path) -> None:
    for read in (probe, lambda path: list(VideoReader(path))):
        with pytest.raises(DecodeError, match="No such file"):
            read(tmp_path / "none.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DecodeError, match="no video stream"):
        list(VideoReader(tmp_path / "sound.mp4"))


def test_a_decode_error_survives_pickling() -> None:
    assert str(pickle.loads(pickle.dumps(DecodeError("a.mp4: broken at frame 3")))) == "a.mp4: broken at frame 3"


def test_a_name_that_looks_like_a_protocol_and_broken_tags_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with av.open(str(tmp_path / "tagged.mkv"), "w") as container:
        container.metadata["title"] = "MARK"
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    Path("http:clip.mkv").write_bytes((tmp_path / "tagged.mkv").read_bytes().replace(b"MARK", b"\xff\xfe\xfd\xfc"))
    assert sum(len(batch) for batch in VideoReader("http:clip.mkv")) == 1


def test_a_frame_that_grows_in_the_middle_is_bounded_in_mjpeg_too(tmp_path: Path) -> None:
    small, large = (cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes() for side in (64, 640))
    (tmp_path / "grows.mjpeg").write_bytes(small + large)
    assert len(list(timed_frames(tmp_path / "grows.mjpeg"))) == 2
    with pytest.raises(DecodeError, match=r"grows\.mjpeg"):
        list(timed_frames(tmp_path / "grows.mjpeg", max_pixels=10_000))
