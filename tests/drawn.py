"""Draws a small dataset of stand-in surveillance clips, so that the whole story runs without any footage."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.data.manifest import load_manifest, manifest_digest, write_manifest
from anomalyclip.data.schema import SCHEMA, Anomaly
from anomalyclip.errors import UsageError

HEIGHT, WIDTH = 120, 160
CLASSES = {"train": ["Normal"] * 8 + ["Explosion", "Fighting"] * 4, "test": ["Normal", "Explosion", "Fighting"] * 2}
# ultrafast on one thread: the same bytes on every run
ENCODER = {"preset": "ultrafast", "crf": "28", "x264-params": "threads=1"}

ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


class Clip(NamedTuple):
    """One clip to draw; `anomaly` is the 0-based inclusive interval of its class, none where Normal."""

    video_id: str
    split: str
    label: str
    num_frames: int
    fps: int
    anomaly: tuple[int, int] | None


def draw_demo(folder: str | Path, seed: int = 0) -> Path:
    """Draw 16 training and 6 test clips (160 x 120, 6 to 12 s, H.264) and return their `manifest.csv`.

    Classes are Explosion (a bright growing disc) and Fighting (two jittering figures); frames of the
    anomaly are known exactly. The same seed draws the same files. The manifest is written last: a folder
    that holds the whole drawing of this seed is returned at once.
    """
    folder = Path(folder)
    clips = _plan(seed)
    table = _table(clips)
    if not _is_complete(folder / "manifest.csv", table):
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        for number, clip in enumerate(clips):
            _encode(folder / "clips" / f"{clip.video_id}.mp4", clip, np.random.default_rng([seed, 1, number]))
        write_manifest(table, folder / "manifest.csv")
    return folder / "manifest.csv"


def _is_complete(manifest: Path, table: pl.DataFrame) -> bool:
    try:
        return manifest_digest(load_manifest(manifest)) == manifest_digest(table)
    except UsageError:
        return False


def _plan(seed: int) -> list[Clip]:
    generator = np.random.default_rng([seed, 0])
    clips = []
    for split, labels in CLASSES.items():
        for number, label in enumerate(labels):
            fps = int(generator.integers(12, 16))
            num_frames = int(fps * generator.uniform(6, 12))
            start = int(num_frames * generator.uniform(0.25, 0.45))
            end = start + int(num_frames * generator.uniform(0.25, 0.4))
            anomaly = None if label == "Normal" else (start, end)
            clips.append(Clip(f"{split}_{number:02d}_{label.lower()}", split, label, num_frames, fps, anomaly))
    return clips


def _table(clips: list[Clip]) -> pl.DataFrame:
    rows = []
    for clip in clips:
        labels = [clip.label] if clip.anomaly else []
        known = clip.anomaly if clip.split == "test" else None
        anomalies = [Anomaly(start=known[0], end=known[1], labels=labels)] if known else []
        path = f"clips/{clip.video_id}.mp4"
        rows.append([clip.video_id, path, clip.split, labels, anomalies, clip.num_frames])
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _encode(path: Path, clip: Clip, generator: np.random.Generator) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps), options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in _pictures(clip, generator):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _pictures(clip: Clip, generator: np.random.Generator) -> Any:
    """Every frame of a clip, uint8 (height, width, 3)."""
    background = _background(generator)
    walkers = _walkers(generator, count=3)
    centre = generator.uniform([40, 45], [80, 115])
    for frame in range(clip.num_frames):
        # the camera sways by up to four pixels
        sway = round(4 * np.sin(2 * np.pi * frame / (6 * clip.fps)))
        picture = np.roll(background, sway, axis=1).copy()
        for start, velocity, colour in walkers:
            _figure(picture, start + velocity * frame / clip.fps, colour)
        if clip.anomaly and clip.anomaly[0] <= frame <= clip.anomaly[1]:
            progress = (frame - clip.anomaly[0] + 1) / (clip.anomaly[1] - clip.anomaly[0] + 1)
            _ANOMALIES[clip.label](picture, centre, progress, generator)
        noise = 3 * generator.standard_normal(picture.shape, dtype=np.float32)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def _background(generator: np.random.Generator) -> NDArray[np.float32]:
    """A smooth grey texture in a faint tint, (height, width, 3)."""
    coarse = generator.uniform(60, 130, (HEIGHT // 20, WIDTH // 20))
    texture = np.kron(coarse, np.ones((20, 20))) + 15 * np.sin(ROWS / 9) + ROWS / 6
    tint = generator.uniform(0.85, 1.1, 3)
    return np.asarray(texture[..., None] * tint, dtype=np.float32)


def _walkers(generator: np.random.Generator, count: int) -> list[Any]:
    """Start (row, column), velocity in pixels a second and colour of each."""
    return [
        (generator.uniform([30, 0], [90, WIDTH]), generator.uniform([-2, -14], [2, 14]), generator.uniform(20, 230, 3))
        for _ in range(count)
    ]


def _figure(picture: NDArray[np.float32], place: Any, colour: Any) -> None:
    """An upright rectangle with a head; a figure that leaves on one side comes back on the other."""
    row, column = int(place[0]) % (HEIGHT - 24), int(place[1]) % (WIDTH - 9)
    picture[row + 6 : row + 24, column : column + 9] = colour
    picture[row : row + 6, column + 2 : column + 7] = (205, 165, 140)


def _explosion(picture: NDArray[np.float32], centre: Any, progress: float, _: np.random.Generator) -> None:
    distance = np.hypot(ROWS - centre[0], COLUMNS - centre[1])
    radius = 8 + 45 * progress
    picture[distance < radius] = (255, 150, 30)
    picture[distance < 0.6 * radius] = (255, 240, 170)


def _fighting(picture: NDArray[np.float32], centre: Any, _: float, generator: np.random.Generator) -> None:
    for side, colour in ((-7, (210, 30, 40)), (7, (30, 50, 200))):
        jitter = generator.uniform(-5, 5, 2)
        _figure(picture, centre + np.array([-12, side]) + jitter, colour)


_ANOMALIES = {"Explosion": _explosion, "Fighting": _fighting}
