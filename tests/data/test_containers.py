"""Containers are known by their bytes, and a file that is shorter than it says is refused before it is decoded."""

from pathlib import Path

import pytest

from anomalyclip.data.containers import ContainerError, container_of
from anomalyclip.data.video import DecodeError, VideoReader, probe
from tests.hostile import CODECS, encode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A video of 40 frames in each container, by suffix."""
    folder = tmp_path_factory.mktemp("containers")
    return {suffix: encode(folder / f"good.{suffix}").read_bytes() for suffix in CODECS}


def frames(path: Path) -> int:
    return sum(map(len, VideoReader(path)))


@pytest.mark.parametrize("suffix", CODECS)
def test_the_bytes_and_not_the_name_decide(suffix: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "video.txt").write_bytes(whole[suffix])
    assert frames(tmp_path / "video.txt") == probe(tmp_path / "video.txt") == 40


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("missing", [1, 10, 0.25, 0.6])
def test_a_file_without_its_end_is_refused(
    suffix: str, missing: float, whole: dict[str, bytes], tmp_path: Path
) -> None:
    content = whole[suffix]
    left = len(content) - (int(missing) or int(missing * len(content)))
    (path := tmp_path / f"cut.{suffix}").write_bytes(content[:left])
    with pytest.raises(DecodeError, match=r"cut off|damaged data"):
        frames(path)


@pytest.mark.parametrize("suffix", sorted(set(CODECS) - {"webm", "mjpeg", "wmv"}))  # their codecs see little damage
def test_damage_in_the_middle_is_an_error_that_names_the_frame(
    suffix: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    content = bytearray(whole[suffix])
    for place in range(len(content) // 2, len(content) * 3 // 4, 101):
        content[place] ^= 0x10
    (path := tmp_path / f"flipped.{suffix}").write_bytes(content)
    with pytest.raises(DecodeError, match=r"at frame \d+$"):
        frames(path)


def test_pictures_with_damaged_data_are_an_error(whole: dict[str, bytes], tmp_path: Path) -> None:
    content = whole["mjpeg"]
    middle = content.index(b"\xff\xda", len(content) // 2) + 40
    (path := tmp_path / "flipped.mjpeg").write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    with pytest.raises(DecodeError, match="at frame"):
        frames(path)


def test_fewer_frames_than_the_container_says_are_an_error(whole: dict[str, bytes], tmp_path: Path) -> None:
    lying = bytearray(whole["avi"])
    number = lying.index(b"strh") + 40
    assert lying[number] == 40
    lying[number] = 41
    (path := tmp_path / "lying.avi").write_bytes(lying)
    with pytest.raises(DecodeError, match="40 frames, while the file says 41"):
        frames(path)


def test_joined_transport_streams_and_zeros_at_the_end_are_accepted(whole: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "joined.ts").write_bytes(whole["ts"] * 2)
    (tmp_path / "padded.mp4").write_bytes(whole["mp4"] + bytes(999))
    (tmp_path / "padded.mjpeg").write_bytes(whole["mjpeg"] + bytes(999))
    assert [frames(path) for path in sorted(tmp_path.iterdir())] == [80, 40, 40]


def test_a_stream_of_other_packet_sizes_is_recognised(whole: dict[str, bytes], tmp_path: Path) -> None:
    packets = [whole["ts"][at : at + 188] for at in range(0, len(whole["ts"]), 188)]
    for suffix, stamped in (
        ("m2ts", [bytes(4) + one for one in packets]),
        ("204", [one + bytes(16) for one in packets]),
    ):
        (path := tmp_path / f"stream.{suffix}").write_bytes(b"".join(stamped))
        assert frames(path) == 40
        path.write_bytes(b"".join(stamped)[:-7])
        with pytest.raises(DecodeError, match="cut off"):
            frames(path)


def test_a_live_recording_has_no_number_and_is_read_as_far_as_it_goes(whole: dict[str, bytes], tmp_path: Path) -> None:
    content = whole["mkv"]
    at = content.index(b"\x18\x53\x80\x67") + 4
    (path := tmp_path / "live.mkv").write_bytes(content[:at] + b"\x01" + b"\xff" * 7 + content[at + 8 :])
    assert container_of(path).format == "matroska" and frames(path) == 40


@pytest.mark.parametrize(
    "content", [b"", b"G", b"RIFF", b"\0\0\1\xba", b"FLV\x01", b"\x1a\x45\xdf\xa3", b"\xff\xd8\xff"]
)
def test_a_file_of_a_few_bytes_is_refused(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "short").write_bytes(content)
    with pytest.raises(DecodeError):
        frames(path)


def test_what_is_no_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    with pytest.raises(ContainerError, match="not a regular file"):
        container_of(tmp_path / "zero.mp4")
