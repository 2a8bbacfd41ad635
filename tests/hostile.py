"""Videos of someone who means harm: drawn by a seed, for tests and `make chaos`."""

import io
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CODECS = {
    "mp4": "libx264", "mov": "mpeg4", "avi": "mpeg4", "mkv": "libx264", "webm": "libvpx", "flv": "flv", "wmv": "wmv2",
    "mpg": "mpeg2video", "ts": "libx264", "mjpeg": "mjpeg",
}  # fmt: skip
FORMATS = {"mpg": "mpeg", "ts": "mpegts", "wmv": "asf", "mjpeg": "mjpeg"}
SUFFIXES = ("mp4", "avi", "ts", "mkv", "m3u8", "mpd")


def encode(path: Path, frames: int = 40, width: int = 96, height: int = 64) -> Path:
    """A whole video of moving noise in the container and codec of its suffix."""
    suffix = path.suffix[1:]
    with av.open(str(path), "w", format=FORMATS.get(suffix)) as container:
        stream = container.add_stream(CODECS[suffix], rate=25)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if suffix == "mjpeg" else "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        for index in range(frames):
            picture = np.roll(noise, 3 * index, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def playlists(secret: Path, address: str) -> dict[str, bytes]:
    """Texts that make FFmpeg open a file or an address, by name."""
    hls = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n{}#EXTINF:10.0,\n{}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?>'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S">'
        '<Period><AdaptationSet><Representation id="0" bandwidth="9"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    texts = {"sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 {address}\nt=0 0\nm=video 5004 RTP/AVP 96\n"
                    "a=rtpmap:96 H264/90000\n"}  # fmt: skip
    targets = {
        "path": str(secret), "file": f"file:{secret}", "http": f"http://{address}/a.ts", "tcp": f"tcp://{address}",
        "concat": f"concat:{secret}|{secret}", "subfile": f"subfile,,start,0,end,99,,:{secret}",
        "crypto": f"crypto:{secret}", "data": "data:video/mp4;base64,AAAA", "cache": f"cache:{secret}",
        "relative": f"../{secret.parent.name}/{secret.name}",
    }  # fmt: skip
    for name, target in targets.items():
        texts[f"ffconcat-{name}"] = f"ffconcat version 1.0\nfile '{target}'\nduration 1\n"
        texts[f"hls-{name}"] = hls.format("", target)
        texts[f"dash-{name}"] = dash.format(target)
    texts["hls-key"] = hls.format(f'#EXT-X-KEY:METHOD=AES-128,URI="{secret}",IV=0x0\n', secret)
    texts["hls-map"] = hls.format(f'#EXT-X-MAP:URI="{secret}"\n', secret)
    texts["hls-master"] = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{secret}\n"
    texts["xspf"] = f"<playlist><trackList><track><location>file://{secret}</location></track></trackList></playlist>"
    texts["asx"] = f'<asx version="3.0"><entry><ref href="{secret}"/></entry></asx>'
    texts["rtsp"] = f"RTSPtext\nrtsp://{address}/live\n"
    texts["svg"] = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>'
    return {name: text.encode() for name, text in texts.items()}


def naming_files(folder: Path, secret: Path, address: str = "127.0.0.1:9") -> Iterator[Path]:
    """Write files that name `secret` or `address` in their content or their own name, under several suffixes."""
    texts = playlists(secret, address)
    for name, content in texts.items():
        for suffix in SUFFIXES:
            yield _write(folder / f"{name}.{suffix}", content)
    hidden = texts["hls-path"]
    whole = encode(folder / "good.avi").read_bytes()
    subtitles = (
        b"GAB2\0\2\0" + (2).to_bytes(4, "little") + b"x\0" + b"\4\0" + len(hidden).to_bytes(4, "little") + hidden
    )
    yield _write(folder / "subtitles.avi", whole.replace(b"movi", b"movi01tx" + _size(subtitles) + subtitles, 1))
    movie = encode(folder / "good.mov").read_bytes()
    alias = b"alis\0\0\0\0" + str(secret).encode()
    reference = (len(alias) + 4).to_bytes(4) + alias
    yield _write(folder / "alias.mov", movie.replace(b"\0\0\0\x0curl \0\0\0\1", reference))
    yield _write(folder / "behind.mp4", encode(folder / "good.mp4").read_bytes() + hidden)
    yield _write(folder / "before.ts", hidden + encode(folder / "good.ts").read_bytes())
    for name in ("picture%03d.mp4", f"concat:{secret.name}|x.mp4", "subfile,,start,0,end,9,,:x.mp4", "-i.mp4", "*.mp4"):
        yield _write(folder / name, hidden)


def hostile_files(folder: Path, seed: int, number: int, secret: Path) -> Iterator[Path]:
    """Write `number` files drawn by `seed`; each is cut, flipped, spliced, lying, or nothing like a video."""
    whole = {suffix: encode(folder / f"whole.{suffix}").read_bytes() for suffix in CODECS}
    texts = list(playlists(secret, "127.0.0.1:9").values())
    for index in range(number):
        draw = random.Random(f"{seed} {index}")
        kind, suffix = draw.choice([*KINDS, *ENCODED]), draw.choice(list(CODECS))
        path = folder / f"{index:04d}-{kind}.{suffix}"
        if kind == "text":
            yield _write(path, draw.choice(texts))
        elif kind in ENCODED:
            yield ENCODED[kind](draw, path.with_suffix(".mp4"))
        elif kind == "link":
            nowhere = secret.with_suffix(".none")
            yield _link(path, draw.choice(["/dev/zero", "/dev/tty", "/proc/self/mem", folder, path, nowhere]))
        elif kind == "pipe":
            os.mkfifo(path)
            yield path
        else:
            other = whole[draw.choice(list(CODECS))]
            yield _write(path, KINDS[kind](draw, whole[suffix], other))


def _cut(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.choice([draw.randrange(64), draw.randrange(len(data)), len(data) - 1 - draw.randrange(64)])]


def _flip(draw: random.Random, data: bytes, other: bytes) -> bytes:
    flipped = bytearray(data)
    reach = draw.choice([64, 2048, len(data)])  # headers are small, and worth more than pixels
    for _ in range(draw.choice([1, 4, 64])):
        flipped[draw.randrange(min(reach, len(data)))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def _lie(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Overwrite numbers of the headers: sizes, rates, counts, widths."""
    lying = bytearray(data)
    for _ in range(draw.choice([1, 3, 9])):
        at = draw.randrange(min(len(data) - 8, draw.choice([256, 4096])))
        number = draw.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65535, draw.getrandbits(32)])
        lying[at : at + 4] = number.to_bytes(4, draw.choice(["big", "little"]))
    return bytes(lying)


def _splice(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]


def _noise(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.choice([0, 16, 64, 512])] + draw.randbytes(draw.randrange(20_000))


def _repeat(draw: random.Random, data: bytes, other: bytes) -> bytes:
    at = draw.randrange(len(data) - 512)
    return data[:at] + data[at : at + 512] * draw.choice([2, 100]) + data[at:]


def _archive(draw: random.Random, data: bytes, other: bytes) -> bytes:
    buffer = io.BytesIO()
    if draw.random() < 0.5:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../clip.mp4", data)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("/clip.mp4")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _none(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return b""


def _rotated(draw: random.Random, path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = _stream(container, draw.choice([1, 25, 1000]))
        stream.set_display_rotation(draw.choice([-90, 45, 90, 179, 270]))
        _fill(container, stream, range(30))
    return path


def _variable(draw: random.Random, path: Path) -> Path:
    """Frames that come at any distance: together, hours apart, more often than any camera."""
    times, now = [], 0
    for _ in range(30):
        now += draw.choice([1, 2, 40, 60_000, 2**31])
        times.append(now)
    with av.open(str(path), "w") as container:
        stream = _stream(container, 25)
        stream.codec_context.time_base = Fraction(1, 60_000)
        _fill(container, stream, times)
    return path


def _absurd_rate(draw: random.Random, path: Path) -> Path:
    rate = draw.choice([Fraction(1, 1000), Fraction(1, 60_000), Fraction(60_000, 1001), Fraction(60_000)])
    with av.open(str(path), "w") as container:
        _fill(container, _stream(container, rate), range(30))
    return path


def _sound_only(draw: random.Random, path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode()])
    return path


def _nothing_inside(draw: random.Random, path: Path) -> Path:
    """A whole container whose stream holds no frame."""
    with av.open(str(path), "w") as container:
        stream = _stream(container, 25)
        container.start_encoding()
        container.mux(stream.encode())
    return path


def _huge(draw: random.Random, path: Path) -> Path:
    """One black frame of up to 256 million pixels in a few kilobytes."""
    width, height = draw.choice([(16_000, 16_000), (30_000, 2), (2, 30_000), (12_000, 2948)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "monob"
        frame = av.VideoFrame(width, height, "monob")
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


def _stream(container: Any, rate: int | Fraction) -> Any:
    stream = container.add_stream("mpeg4", rate=rate)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    return stream


def _fill(container: Any, stream: Any, times: Iterable[int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * number, axis=1), format="rgb24")
        frame.pts = time
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


ENCODED: dict[str, Callable[[random.Random, Path], Path]] = {
    "rotated": _rotated, "variable": _variable, "rate": _absurd_rate, "sound": _sound_only, "hollow": _nothing_inside,
    "huge": _huge,
}  # fmt: skip
KINDS: dict[str, Callable[[random.Random, bytes, bytes], bytes]] = {
    "cut": _cut, "flip": _flip, "lie": _lie, "splice": _splice, "noise": _noise, "repeat": _repeat,
    "archive": _archive, "empty": _none, "text": _none, "link": _none, "pipe": _none,
}  # fmt: skip


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _link(path: Path, target: str | Path) -> Path:
    path.symlink_to(target)
    return path


def _size(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little")
