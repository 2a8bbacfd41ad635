"""The drawn benchmark and its cameras: single clips, and streams of several minutes."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from anomalyclip.benchmark.footage.videos import FULL, Clip, anomalous, draw_benchmark, plan, write_clip
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.labels import NORMAL
from anomalyclip.data.manifest import load_manifest
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.features.backbone import Backbone, load_backbone, save_backbone
from anomalyclip.features.encoder import FrameEncoder, feature_fingerprint
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.feature_file import Features
from anomalyclip.features.store import FeatureStore
from anomalyclip.presets import PRESETS
from anomalyclip.storage import Storage

MORE = 4
"""Normal clips that are drawn of each camera beside its own."""
SPLITS = ("val", "test")


@dataclass(frozen=True, eq=False)
class Stream:
    """What a camera shows without a break."""

    name: str
    features: Features
    """`(frames, crops, dim)`"""
    anomalous: NDArray[np.bool_]
    """`(frames,)`"""
    label: str
    """Class of its anomaly, or Normal."""


@dataclass(frozen=True)
class Footage:
    """The benchmark, and the stored features of all its videos and of the clips that were drawn beside them."""

    storage: Storage
    manifest: pl.DataFrame
    backbone: Backbone
    store: FeatureStore
    drawn: dict[Clip, str]
    """Source of each clip of the validation and test cameras."""

    def clips(self, split: str) -> list[Stream]:
        """Return the benchmark's own videos of a split."""
        own = [clip for clip in plan(FULL) if clip.split == split]
        return [self._stream(clip.video_id, [clip]) for clip in own]

    def streams(self, split: str) -> list[Stream]:
        """Return a stream of each camera of a split: all its clips in a row, in drawn order, a normal one first."""
        cameras: dict[int, list[Clip]] = {}
        for clip in self.drawn:
            if clip.split == split:
                cameras.setdefault(clip.camera, []).append(clip)
        return [self._stream(f"camera-{camera}", _in_a_row(clips)) for camera, clips in cameras.items()]

    def _stream(self, name: str, clips: list[Clip]) -> Stream:
        features = np.concatenate([self.store.read_features(self.drawn[clip]) for clip in clips])
        labels = [clip.label for clip in clips if clip.label != NORMAL]
        return Stream(name, features, np.concatenate([anomalous(clip) for clip in clips]), (labels or [NORMAL])[0])


def footage(folder: Path) -> Footage:
    """Draw what is missing in a folder, and extract its features."""
    storage, backbone = Storage(str(folder)), load_backbone(PRESETS["default"].backbone)
    manifest = load_manifest(draw_benchmark(folder / "benchmark"))
    sources = dict(manifest.select("video_id", "source").iter_rows())
    own = [clip for clip in plan(FULL) if clip.split in SPLITS]
    more = [clip for camera in {clip.camera: clip for clip in own}.values() for clip in _more(camera)]
    beside = folder / "more"
    beside.mkdir(exist_ok=True)
    paths = [beside / f"{clip.camera}-{clip.scene}.mp4" for clip in more]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_clip, more, paths, chunksize=4))
    drawn = {clip: sources[clip.video_id] for clip in own} | dict(zip(more, map(str, paths), strict=True))
    store = _extracted(storage, backbone, [*sources.values(), *drawn.values()])
    return Footage(storage, manifest, backbone, store, drawn)


def _more(clip: Clip) -> list[Clip]:
    """Return further normal clips of a clip's camera; their scenes are those of no other."""
    clips = []
    for number in range(MORE):
        scene = clip.camera + 50_000 + 1_000 * number
        generator = np.random.default_rng(scene)
        clips.append(replace_clip(clip, scene, int(generator.integers(240, 481)), int(generator.uniform() < 0.35)))
    return clips


def replace_clip(clip: Clip, scene: int, num_frames: int, look_alikes: int) -> Clip:
    """Return a normal clip of the same camera."""
    return clip._replace(
        video_id=f"{clip.camera}-{scene}", label=NORMAL, scene=scene, num_frames=num_frames, anomalies=(),
        look_alikes=look_alikes,
    )  # fmt: skip


def _in_a_row(clips: list[Clip]) -> list[Clip]:
    generator = np.random.default_rng(clips[0].camera)
    order = [clips[place] for place in generator.permutation(len(clips))]
    first = next(clip for clip in order if clip.label == NORMAL)
    return [first, *(clip for clip in order if clip is not first)]


def _extracted(storage: Storage, backbone: Backbone, sources: Iterable[str]) -> FeatureStore:
    settings, device = PRESETS["default"].extraction, resolve_device()
    precision = resolve_precision(settings.precision, device)
    store = FeatureStore(storage, feature_fingerprint(backbone, precision, settings.step, settings.crops))
    save_backbone(backbone, storage)
    decoder, encoder = Decoder(), FrameEncoder(backbone, precision, device, settings.crops)
    with store.merging():
        for source in store.missing(list(sources))["video"]:
            store.record([extract_video(source, encoder, store, settings, decoder)])
    decoder.close()
    return store
