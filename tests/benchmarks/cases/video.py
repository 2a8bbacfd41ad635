"""Decoding, encoding and extraction of one video of 750 frames, 320 x 240, by the CLIP that ships with the package."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anomalyclip.config import BackboneConfig, ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.video import VideoReader
from anomalyclip.data.video_writer import video_writer
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.benchmarks.bench import Case

FRAMES = 750


def cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of videos."""
    clip = folder / "clip.mp4"
    draw_clip(clip, FRAMES)
    backbone = load_backbone(BackboneConfig())
    encoder = FrameEncoder(backbone, "float32", torch.device("cpu"))
    batches = [np.array(batch) for batch in VideoReader(clip)]
    yield Case("decode 750 frames", lambda: list(VideoReader(clip)), "PyAV alone", lambda: _decoded(clip))
    yield Case(
        "encode 750 frames", lambda: [encoder(batch) for batch in batches],
        "resized by PIL one by one", lambda: _encoded(backbone, batches),
    )  # fmt: skip
    yield Case(
        "extraction of a video", lambda: _extracted(clip, encoder, folder),
        "decode and encode in one process", lambda: [encoder(batch) for batch in VideoReader(clip)],
    )  # fmt: skip


def draw_clip(clip: Path, frames: int, seed: int = 0) -> None:
    """Draw noise of large squares that moves, 320 x 240."""
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    with video_writer(clip) as writer:
        for number in range(frames):
            writer.write(np.roll(noise, number, axis=1), number / 25)


def _decoded(clip: Path) -> int:
    with av.open(str(clip)) as container:
        return sum(frame.to_ndarray(format="rgb24").shape[0] for frame in container.decode(video=0))


def _encoded(backbone: Backbone, batches: list[NDArray[np.uint8]]) -> None:
    size = backbone.architecture["vision_cfg"]["image_size"]
    with torch.inference_mode():
        for batch in batches:
            pictures = [Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC) for frame in batch]
            small = [np.asarray(picture) for picture in pictures]
            backbone.model.encode_image(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) / 127.5 - 1)  # type: ignore[operator]


def _extracted(clip: Path, encoder: FrameEncoder, folder: Path) -> None:
    settings = ExtractionConfig()
    store = FeatureStore(Storage(str(folder / f"store-{len(list(folder.iterdir()))}")), "bench")
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        assert extract_video(str(clip), encoder, store, settings, decoder).error is None
