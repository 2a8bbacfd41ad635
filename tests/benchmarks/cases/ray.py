"""`extract.py` on Ray beside extraction in this process, for short videos."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from time import perf_counter

import torch

from anomalyclip.config import BackboneConfig, ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.local_extraction import extract_here
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.benchmarks.bench import Case, Unwaited
from tests.benchmarks.cases.video import draw_clip
from tests.benchmarks.unwaited import unwaited

CLIPS, FRAMES = 40, 50


def cases(folder: Path) -> Iterator[Case]:
    """Yield the case of short videos."""
    clips = [folder / f"v{number:03}.mp4" for number in range(CLIPS)]
    for number, clip in enumerate(clips):
        draw_clip(clip, FRAMES, number)
    manifest = folder / "manifest.csv"
    lines = [f"{clip.stem},{clip.name},train,,,{FRAMES}" for clip in clips]
    manifest.write_text("\n".join(["video_id,path,split,labels,anomalies,num_frames", *lines]))
    backbone, number = load_backbone(BackboneConfig()), count()
    yield Case(
        f"extraction of {CLIPS} clips of {FRAMES} frames by extract.py on Ray, its start too",
        lambda: _on_ray(manifest, folder / f"ray-{next(number)}"),
        "extract_here in this process", lambda: _here(clips, backbone, folder / f"here-{next(number)}"),
    )  # fmt: skip


def _on_ray(manifest: Path, storage: Path) -> Unwaited:
    """Extract; returns the CPU seconds of Ray's workers, which no process is told when they end."""
    command = [sys.executable, "workflows/extract.py", str(manifest), "--storage", str(storage)]
    with unwaited() as seconds:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["extracted"] == CLIPS
    _say("extract.py", report["frames"] / report["seconds"])
    return Unwaited(seconds())


def _here(clips: list[Path], backbone: Backbone, storage: Path) -> None:
    settings, store, started = ExtractionConfig(), FeatureStore(Storage(str(storage)), "bench"), perf_counter()
    with closing(Decoder(settings.decode_timeout, settings.max_pixels)) as decoder:
        sources = [str(clip) for clip in clips]
        assert not extract_here(sources, store, backbone, "float32", torch.device("cpu"), settings, decoder)
    _say("extract_here", CLIPS * FRAMES / (perf_counter() - started))


def _say(what: str, rate: float) -> None:
    print(f"{what}: {rate:.0f} frames/s", file=sys.stderr)
