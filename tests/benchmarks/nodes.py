"""Extraction on one and on two nodes of a core each, and its sizing: `python -m tests.benchmarks.nodes FOLDER`.

Each node has a core of its own, on which it decodes and encodes; the sizing gets the rate of one core that does both.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch

from anomalyclip.config import BackboneConfig, ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.sizing import START_SECONDS, Rates, size
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.clusters import Cluster, cluster
from tests.long_footage import draw_long

VIDEOS, FRAMES, MEASURED = 40, 1500, 6
ROOT = Path(__file__).parents[2]


def main(folder: Path) -> None:
    """Draw the videos, measure, and print a row per number of nodes."""
    manifest, settings = _drawn(folder), ExtractionConfig()
    rate = _rate_of_a_core(folder, settings)
    frames = np.full(VIDEOS, FRAMES)
    print(f"one core decodes and encodes {rate:.0f} frames/s")
    for nodes in (1, 2):
        sizing = size(frames, settings, Rates(rate, 1e9), 64, [nodes])
        real, work = _extraction(folder, manifest, nodes)
        said = sizing.schedules[0].hours * 3600
        print(f"{nodes} nodes: {real:.1f} s, {work:.1f} s of them at work", end="; ")
        print(f"the sizing says {said:.1f} and {said - START_SECONDS:.1f} s", flush=True)


def _drawn(folder: Path) -> Path:
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # the length of its name is the seed of a video: one that is equal to another is not encoded again
        names = [draw_long(folder / f"{_name(number)}.mp4", FRAMES, size=(160, 120)).stem for number in range(VIDEOS)]
        lines = [f"{name},{name}.mp4,train,,,{FRAMES}" for name in names]
        manifest.write_text("\n".join(["video_id,path,split,labels,anomalies,num_frames", *lines]) + "\n")
    return manifest


def _name(number: int) -> str:
    return "v" * (number + 1)


def _rate_of_a_core(folder: Path, settings: ExtractionConfig) -> float:
    encoder = FrameEncoder(load_backbone(BackboneConfig()), "float32", torch.device("cpu"))
    store = FeatureStore(Storage(str(folder / f"alone-{time.time_ns()}")), "rate")
    torch.set_num_threads(1)
    with _on_core(0), closing(Decoder()) as decoder:
        extract_video(str(folder / f"{_name(0)}.mp4"), encoder, store, settings, decoder)
        started = time.monotonic()
        for number in range(1, MEASURED + 1):
            extract_video(str(folder / f"{_name(number)}.mp4"), encoder, store, settings, decoder)
        return MEASURED * FRAMES / (time.monotonic() - started)


def _extraction(folder: Path, manifest: Path, nodes: int) -> tuple[float, float]:
    """Return the seconds of the command, and those from when its workers start until all is stored."""
    told = {"PYTHONPATH": str(ROOT), "ANOMALYCLIP_SCRATCH": str(folder / "scratch"), "RAY_worker_niceness": "0"}
    with _on_core(0), cluster(1, 1, **told) as started:
        (folder / "scratch").mkdir(exist_ok=True)
        for core in range(1, nodes):
            with _on_core(core):
                started.add_node()
        return _timed(started, folder, manifest)


def _timed(started: Cluster, folder: Path, manifest: Path) -> tuple[float, float]:
    root, began = folder / f"root-{time.time_ns()}", time.monotonic()
    address = f"RAY_ADDRESS={started.head.address}:{started.port}"
    line = f"{address} {sys.executable} {ROOT}/workflows/extract.py {manifest} --storage {root} 2>{folder}/extract.log"
    code, said = started.shell(line, ROOT)
    assert code == 0, (said, (folder / "extract.log").read_text()[-2000:])
    return time.monotonic() - began, float(json.loads(said.splitlines()[-1])["seconds"])


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Let what is started in the block run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
