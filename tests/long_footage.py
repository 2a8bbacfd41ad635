"""Drawn videos that are long for the tests' parts: in several containers and codecs."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

X264 = {"preset": "ultrafast", "tune": "zerolatency"}
B_FRAMES = {"preset": "fast", "x264-params": "bframes=3:keyint=25:min-keyint=25:scenecut=0"}
OPEN_GOP = {"preset": "fast", "x264-params": "bframes=3:keyint=25:min-keyint=25:scenecut=0:open-gop=1:ref=4"}
REFRESH = {"preset": "fast", "x264-params": "keyint=25:intra-refresh=1:bframes=0"}


def draw_long(
    path: Path,
    frames: int = 300,
    codec: str = "libx264",
    options: Mapping[str, str] = B_FRAMES,
    uneven: bool = False,
    sound: bool = False,
    size: tuple[int, int] = (64, 48),
    gop: int = 25,
) -> Path:
    """Draw a square that moves over noise; `uneven`: frames come at a variable rate."""
    generator = np.random.default_rng(len(path.name))
    background = generator.integers(0, 200, (size[1], size[0], 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if uneven:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        time = 0
        for number in range(frames):
            picture = np.roll(background, number // 4, axis=1)
            left = number % (size[0] - 8)
            picture[8:16, left : left + 8] = (number * 7 % 256, 255 - number % 200, 90)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if uneven:
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                time += int(generator.integers(10, 90))
            container.mux(stream.encode(frame))
            if audio is not None:
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = 8000, number * 320, Fraction(1, 8000)
                container.mux(audio.encode(samples))
        container.mux(stream.encode())
        if audio is not None:
            container.mux(audio.encode())
    return path


def mark_keys(source: Path, target: Path, every: int) -> Path:
    """Copy a video, with every n-th packet marked as a key frame, which it is not."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copied = new.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            packet.is_keyframe = number % every == 0
            packet.stream = copied
            new.mux(packet)
    return target
