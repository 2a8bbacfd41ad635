"""Videos of the benchmark: their list, how each is drawn, and their manifest."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.benchmark.drawing.canvas import Canvas
from anomalyclip.benchmark.footage import props
from anomalyclip.benchmark.footage.actors import Actor, Effect, draw_scene
from anomalyclip.benchmark.footage.anomalies import ANOMALIES, FURNITURE
from anomalyclip.benchmark.footage.camera import CAMERA_STREAM, HEIGHT, WIDTH, Camera, camera
from anomalyclip.benchmark.footage.life import EVERYDAY, LOOK_ALIKES, NIGHT_LOOK_ALIKES, TRAFFIC
from anomalyclip.benchmark.footage.places import PLACES, WITH_ROAD
from anomalyclip.data.labels import NORMAL
from anomalyclip.data.manifest import load_manifest, manifest_digest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.data.schema import Anomaly as Interval
from anomalyclip.errors import UsageError
from anomalyclip.settings import digest

DRAWING_VERSION = 4
"""Raise it whenever the same clips would look different: it is part of the videos' paths."""
FPS = 12
FURNISHED = 0.4
"""Share of the other cameras with a thing that Arson or Vandalism happens to elsewhere."""
FIRST_SEEDS = {"train": 1_000_000_000, "val": 2_000_000_000, "test": 3_000_000_000}
"""First seed of each split's cameras and scenes: no two splits share one, and pre-training uses none."""


SCENE_STREAM = 13
"""Marks the random draws of who is in a clip."""
STREAMS = (CAMERA_STREAM, SCENE_STREAM)


class Size(NamedTuple):
    """Videos of a split: normal ones, and those of each class of anomaly."""

    normal: int
    anomalous: int


class Clip(NamedTuple):
    """One video to draw; anomalous frames are 0-based and inclusive."""

    video_id: str
    split: str
    label: str
    place: str
    camera: int
    """Seed of the camera: it belongs to one split, and sees a normal and an anomalous video or one of them."""
    furniture: str
    """Furniture at the camera's stage: a heap, a glass case, or nothing."""
    scene: int
    """Seed of the people and vehicles."""
    num_frames: int
    anomalies: tuple[tuple[int, int], ...]
    crf: int
    """H.264's quality: higher is worse."""
    look_alikes: int
    """Moments of ordinary life that look like an anomaly."""


FULL: dict[str, Size] = {"train": Size(57, 9), "val": Size(14, 2), "test": Size(22, 4)}
"""120 training, 28 validation and 50 test videos."""


def draw_benchmark(
    folder: str | Path, sizes: dict[str, Size] | None = None, seed: int = 0, processes: int | None = None
) -> Path:
    """Draw the videos (160 x 120, 12 fps, H.264) and return their `manifest.csv`.

    The same seed draws the same videos. The manifest is written last: a folder that holds the whole drawing is
    returned at once, and one that was interrupted draws only what is missing.
    """
    folder = Path(folder)
    clips = plan(sizes or FULL, seed)
    table = manifest_of(clips)
    if not _is_complete(folder / "manifest.csv", table):
        targets = [folder / path for path in table["path"]]
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(write_clip, clips, targets, chunksize=4))
        write_manifest(table, folder / "manifest.csv")
    return folder / "manifest.csv"


def plan(sizes: dict[str, Size], seed: int = 0) -> list[Clip]:
    """Return the clips of the benchmark; lengths, places and intervals are drawn from the seed."""
    clips: list[Clip] = []
    for split, size in sizes.items():
        generator = np.random.default_rng([seed, FIRST_SEEDS[split]])
        anomalous = [name for name in ANOMALIES for _ in range(size.anomalous)]
        generator.shuffle(anomalous)
        first = FIRST_SEEDS[split] + 100_000 * seed
        for number in range(max(size.normal, len(anomalous))):
            label = anomalous[number] if number < len(anomalous) else NORMAL
            place, furniture = _setting(generator, label)
            labels = [NORMAL] * (number < size.normal) + [label] * (label != NORMAL)
            for label in labels:
                scene = first + len(clips)
                clips.append(_clip(generator, split, label, place, first + number, furniture, scene))
    return clips


def manifest_of(clips: Sequence[Clip]) -> pl.DataFrame:
    """Return the manifest of clips; training rows carry no intervals."""
    drawing = f"clips-{digest(DRAWING_VERSION, clips)[:8]}"
    rows = []
    for clip in clips:
        labels = [] if clip.label == NORMAL else [clip.label]
        intervals = clip.anomalies if clip.split == "test" else ()
        anomalies = [Interval(start=start, end=end, labels=labels) for start, end in intervals]
        rows.append([clip.video_id, f"{drawing}/{clip.video_id}.mp4", clip.split, labels, anomalies, clip.num_frames])
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def frames(clip: Clip) -> Iterator[Canvas]:
    """Draw a clip's frames, uint8 RGB (120, 160, 3), before compression."""
    eye = camera(clip.place, clip.camera)
    actors = _cast(clip, eye)
    for number in range(clip.num_frames):
        yield _shot(eye, actors, number)


def frame(clip: Clip, number: int) -> Canvas:
    """Draw a single frame of a clip."""
    eye = camera(clip.place, clip.camera)
    return _shot(eye, _cast(clip, eye), number)


def write_clip(clip: Clip, target: Path) -> None:
    """Encode a clip as H.264; an existing file is kept, since only whole files get their name."""
    if target.exists():
        return
    unfinished = target.with_suffix(".part")
    # one thread: the same bytes on every run
    options = {"preset": "ultrafast", "crf": str(clip.crf), "x264-params": "threads=1"}
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames(clip):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    unfinished.rename(target)


def _setting(generator: np.random.Generator, label: str) -> tuple[str, str]:
    """Choose a camera's kind of place and its furniture, so that a class can happen in front of it."""
    suited = tuple(name for name in PLACES if label != "RoadAccidents" or name in WITH_ROAD)
    place = suited[int(generator.integers(len(suited)))]
    things = tuple(FURNITURE.values())
    other = things[int(generator.integers(len(things)))] if generator.uniform() < FURNISHED else ""
    return place, FURNITURE.get(label, other)


def _clip(
    generator: np.random.Generator, split: str, label: str, place: str, camera_seed: int, furniture: str, scene: int
) -> Clip:
    num_frames = int(generator.integers(240, 481))
    anomalies: tuple[tuple[int, int], ...] = ()
    if label != NORMAL:
        length = int(generator.integers(54, 91))
        start = int(generator.integers(24, num_frames - length - 12))
        anomalies = ((start, start + length - 1),)
    name = f"{split}_{scene % 1000:03d}_{label.lower()}_{place.replace(' ', '_')}"
    look_alikes, crf = int(generator.uniform() < 0.35), int(generator.integers(22, 33))
    return Clip(name, split, label, place, camera_seed, furniture, scene, num_frames, anomalies, crf, look_alikes)


def _shot(eye: Camera, actors: Sequence[Actor], number: int) -> Canvas:
    scene = eye.background.copy()
    draw_scene(scene, actors, eye.ground, number / FPS)
    return eye.develop(scene, number, number / FPS)


def _cast(clip: Clip, eye: Camera) -> list[Actor]:
    """All people and things that move in a clip."""
    generator = np.random.default_rng([clip.scene, SCENE_STREAM])
    seconds = clip.num_frames / FPS
    scenes = [EVERYDAY[generator.integers(len(EVERYDAY))] for _ in range(int(generator.integers(2, 5)))]
    if eye.ground.lanes:
        scenes += [TRAFFIC[generator.integers(len(TRAFFIC))] for _ in range(int(generator.integers(1, 4)))]
    alike = NIGHT_LOOK_ALIKES if eye.night else LOOK_ALIKES
    scenes += [alike[generator.integers(len(alike))] for _ in range(clip.look_alikes)]
    actors = [actor for scene in scenes for actor in scene(generator, eye.ground, seconds)]
    if clip.furniture:
        thing = props.heap if clip.furniture == "heap" else props.glass_case(np.random.default_rng(clip.camera))
        actors.append(Effect(-1, seconds + 1, eye.stage, thing, before=-0.01))
    for start, end in clip.anomalies:
        actors += ANOMALIES[clip.label](generator, eye.ground, eye.stage, start / FPS, (end + 1) / FPS)
    return actors


def _is_complete(manifest: Path, table: pl.DataFrame) -> bool:
    try:
        return manifest_digest(load_manifest(manifest)) == manifest_digest(table)
    except UsageError:
        return False


def anomalous(clip: Clip) -> NDArray[np.bool_]:
    """Return which of a clip's frames are anomalous, (frames,)."""
    flags = np.zeros(clip.num_frames, dtype=bool)
    for start, end in clip.anomalies:
        flags[start : end + 1] = True
    return flags
