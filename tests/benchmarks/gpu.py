"""What a GPU does: frames encoded per second, and training steps per second, each beside its baseline in the same run.

python -m tests.benchmarks.gpu [encode] [extract] [train]
"""

import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyclip.config import RunConfig
from anomalyclip.device import tf32_allowed
from anomalyclip.features.backbone import Backbone, new_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.model.method import Method
from anomalyclip.presets import preset
from anomalyclip.settings import build_config
from anomalyclip.training.fit import StepInput, step_loss
from anomalyclip.training.setup import build_model
from tests.benchmarks.cases.video import draw_clip
from tests.benchmarks.flops import flops_per_frame

GPU = torch.device("cuda")
BATCH, BATCHES, THREADS, TURNS = 64, 40, 8, 3
VIDEOS, DIM, STEPS = 64, 512, 20
CLIPS, FRAMES = 48, 1500
SETTINGS = ("decode_processes=2", "decode_processes=null", "compiled=true")


def encoding(name: str) -> None:
    """Print how many frames of 320 x 240 are encoded per second."""
    backbone = new_backbone(name)
    frames = np.random.default_rng(0).integers(0, 256, (BATCH, 240, 320, 3), dtype=np.uint8)
    flops = flops_per_frame(backbone)
    plain = _plain(backbone)
    resident = torch.from_numpy(frames).to(GPU)
    peak = _peak()
    print(f"{name}: {flops / 1e9:.1f} GFLOP a frame; matrix products in bfloat16: {peak / 1e12:.0f} TFLOP/s")

    def show(row: str, run: Callable[[], object]) -> None:
        rate = BATCH * BATCHES / _seconds(run)
        print(f"| {name} | {row} | {rate:.0f} frames/s | {rate * flops / peak:.0%} |", flush=True)

    show("one after the other, rounded in every call", lambda: [plain(frames) for _ in range(BATCHES)])
    first = plain(frames)
    for kind, options in {"eager": (0, False), "recorded": (BATCH, False), "compiled": (BATCH, True)}.items():
        started = time.perf_counter()
        encoder = FrameEncoder(backbone, "bfloat16", GPU, 1, *options)
        got = encoder(frames)
        print(f"{kind}: {time.perf_counter() - started:.0f} s to start, {np.abs(got[:, 0] - first).max()} off")
        show(f"{kind}, one thread", lambda encoder=encoder: [encoder(frames) for _ in range(BATCHES)])
        show(f"{kind}, {THREADS} threads", lambda encoder=encoder: _threads(encoder, frames))
        show(f"{kind}, frames on the GPU already", lambda encoder=encoder: _resident(encoder, resident))


def extraction() -> None:
    """Print how many frames `workflows/extract.py` takes per second, from files, on all CPUs and one GPU."""
    with TemporaryDirectory() as folder:
        clips = [Path(folder) / f"v{number:03}.mp4" for number in range(CLIPS)]
        with ProcessPoolExecutor() as pool:
            list(pool.map(draw_clip, clips, [FRAMES] * CLIPS, range(CLIPS)))
        manifest = Path(folder) / "manifest.csv"
        lines = [f"v{number:03},v{number:03}.mp4,train,,,{FRAMES}" for number in range(CLIPS)]
        manifest.write_text("\n".join(["video_id,path,split,labels,anomalies,num_frames", *lines]))
        for setting in SETTINGS:
            command = [sys.executable, "workflows/extract.py", str(manifest), "--storage", f"{folder}/{setting}"]
            command += ["--set", "backbone.name=ViT-B-16-quickgelu", "--set", "backbone.weights=random"]
            done = subprocess.run([*command, "--set", f"extraction.{setting}"], capture_output=True, text=True)
            print(done.stderr[-1500:], file=sys.stderr)
            if done.returncode == 0:
                report = json.loads(done.stdout)
                rate = re.findall(r"(\d+) frames/s", done.stderr)[-1]
                print(
                    f"| extract.py, {setting} | {report['frames']} frames, {report['seconds']:.1f} s, {rate} frames/s |"
                )
            sys.stdout.flush()


def training() -> None:
    """Print how long a step of 64 videos takes at the settings of UCF-Crime."""
    for precision in ("float32", "tf32", "bfloat16"):
        config = build_config(
            preset("ucf-crime"), None, (f"training.batch_size={VIDEOS}", f"training.precision={precision}")
        )
        classes = sorted([*(config.data.classes or ()), "Normal"])
        model = build_model(classes, new_backbone("ViT-B-16-quickgelu"), torch.zeros(DIM), config).to(GPU).train()
        step, optimizer = _step(len(classes) - 1), model.optimizer(config.training)
        torch.cuda.reset_peak_memory_stats()
        with tf32_allowed(precision):
            seconds = _seconds(partial(_steps, model, optimizer, step, config))
        memory = torch.cuda.max_memory_allocated() / 2**30
        print(f"| step, {precision} | {1000 * seconds / STEPS:.1f} ms | {memory:.1f} GB |", flush=True)


def _steps(model: Method, optimizer: torch.optim.Optimizer, step: StepInput, config: RunConfig) -> None:
    for _ in range(STEPS):
        loss = torch.stack(list(step_loss(model, step, config).values())).sum()
        assert loss.isfinite()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _step(classes: int) -> StepInput:
    draw = torch.Generator().manual_seed(0)
    return StepInput(
        torch.randn(VIDEOS, 32, 16, DIM, generator=draw).to(GPU),
        torch.arange(VIDEOS // 2, device=GPU) % classes,
        torch.ones(VIDEOS, 32, dtype=torch.bool, device=GPU),
        torch.ones(VIDEOS, 32, dtype=torch.bool, device=GPU),
        VIDEOS // 2,
        torch.arange(VIDEOS),
    )


def _plain(backbone: Backbone) -> Callable[[NDArray[np.uint8]], NDArray[np.float16]]:
    model: Any = copy.deepcopy(backbone.model).to(GPU)

    @torch.inference_mode()
    def encode(frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        with torch.autocast("cuda", torch.bfloat16):
            pixels = backbone.preprocess(torch.from_numpy(frames).pin_memory().to(GPU, non_blocking=True))
            features = model.encode_image(pixels).half()
        assert features.isfinite().all()
        return np.asarray(features.cpu().numpy())

    return encode


@torch.inference_mode()
def _resident(encoder: FrameEncoder, frames: torch.Tensor) -> None:
    for _ in range(BATCHES):
        encoder._encode(frames)


def _threads(encoder: FrameEncoder, frames: NDArray[np.uint8]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(encoder, [frames] * BATCHES))


@torch.inference_mode()
def _peak() -> float:
    """Measure the FLOP/s of a large matrix product."""
    a = torch.randn(8192, 8192, device=GPU, dtype=torch.bfloat16)
    return 2 * 8192**3 * 20 / _seconds(lambda: [a @ a for _ in range(20)])


def _seconds(run: Callable[[], object]) -> float:
    run()
    turns = []
    for _ in range(TURNS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        turns.append(time.perf_counter() - started)
    return median(turns)


if __name__ == "__main__":
    parts = {"encode": partial(encoding, "ViT-B-16-quickgelu"), "extract": extraction, "train": training}
    torch.set_num_threads(1)  # as extraction workers do
    print(torch.cuda.get_device_name(), torch.__version__)
    for part in sys.argv[1:] or parts:
        parts[part]()
