"""What the backbones in use cost: parameters, operations, speed and memory of each, with random weights.

OMP_NUM_THREADS=1 python -m tests.benchmarks.backbones [NAME...]
"""

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch

from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, new_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.text_tower import text_tower
from tests.benchmarks.bench import machine
from tests.benchmarks.flops import flops_per_frame

NAMES = (
    "clip-tiny", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "EVA02-B-16", "EVA02-L-14-336", "PE-Core-T-16-384",
    "PE-Core-S-16-384", "PE-Core-B-16", "PE-Core-L-14-336", "MobileCLIP2-S0", "MobileCLIP2-S2", "MobileCLIP2-S3",
    "MobileCLIP2-B", "ViT-B-32-SigLIP2-256", "ViT-B-16-SigLIP2", "ViT-SO400M-14-SigLIP2",
)  # fmt: skip
BATCH, FEW, TURNS = 16, 4, 3
LARGE = 100e9
"""Operations of a frame above which batches are of `FEW` frames."""
HEAD = (
    "| backbone | picture | feature | parameters, image + text | GFLOP a frame | frames/s | memory: weights + batch "
    "| tokens of a prompt |\n|---|---|---|---|---|---|---|---|"
)


def row(name: str) -> str:
    """Measure a backbone, in a process of its own."""
    torch.set_num_threads(1)
    backbone = new_backbone(name)
    flops = flops_per_frame(backbone)
    frames = np.random.default_rng(0).integers(0, 256, (FEW if flops > LARGE else BATCH, 240, 320, 3), dtype=np.uint8)
    encoder = FrameEncoder(backbone, "float32", torch.device("cpu"))
    encoder(frames[:1])
    before = _reset_peak()
    rate = len(frames) / median(_seconds(encoder, frames) for _ in range(TURNS))
    more = _status("VmHWM") - before
    image = sum(value.numel() for value in backbone.model.get_submodule("visual").parameters()) / 1e6
    whole = sum(value.numel() for value in backbone.model.parameters()) / 1e6
    return (
        f"| `{name}` | {backbone.preprocess.size} | {backbone.dim} | {image:.1f} + {whole - image:.1f} M "
        f"| {flops / 1e9:.3g} | {rate:.3g} | {4 * whole / 1.048576:.0f} + {more / 2**20:.0f} "
        f"MB{' *' if len(frames) == FEW else ''} | {_prompts(backbone)} |"
    )


def _prompts(backbone: Backbone) -> str:
    tower = text_tower(backbone.model)
    window = len(tower.positional_embedding)
    try:
        backbone.tokenizer(["a"])
    except UsageError:
        return f"all of {window}, tokenizer of the hub"
    return f"all of {window}" if tower.reads_padding else f"up to {window}"


def _seconds(encoder: FrameEncoder, frames: np.ndarray) -> float:
    started = time.process_time()
    encoder(frames)
    return time.process_time() - started


def _reset_peak() -> int:
    """Forget the peak of this process's memory; return what it holds now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(names: list[str]) -> None:
    """Print the table."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, torch {torch.__version__}\n\n{HEAD}", flush=True)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for line in pool.map(row, names):
            print(line, flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\nlargest process: {peak:.1f} GB; * a batch of {FEW} frames, else of {BATCH}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
