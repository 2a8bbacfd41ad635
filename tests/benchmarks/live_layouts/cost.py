"""CPU time of live scoring per frame, on one thread, beside that of the image tower."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from anomalyclip.config import BackboneConfig
from anomalyclip.device import resolve_precision
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.live.layouts import Layout
from anomalyclip.live.scorer import live_scorer
from anomalyclip.live.window import Pushed

FRAMES, AT_ONCE, TURNS = 1600, 16, 3


def scoring(bundle: Path, layout: Layout, cameras: int, dim: int) -> float:
    """Return milliseconds of CPU per frame of a camera, its past full; the median of some turns."""
    generator, cpu = np.random.default_rng(0), torch.device("cpu")
    values = generator.normal(size=(FRAMES, 1, dim)).astype(np.float16)
    scorer = live_scorer(bundle, cpu, layout)
    numbers = np.arange(layout.span)
    past = generator.normal(size=(layout.span, 1, dim)).astype(np.float16)
    names = [f"c{number}" for number in range(cameras)]
    for name in names:
        scorer.push({name: Pushed(past[:-5], numbers[:-5] / 25, numbers[:-5])})
    turns = []
    for _ in range(TURNS):
        started = time.process_time()
        for start in range(0, FRAMES // cameras, AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            times = np.arange(AT_ONCE) / 25
            scorer.push({name: Pushed(values[rows], times, np.arange(AT_ONCE)) for name in names})
        turns.append((time.process_time() - started) / FRAMES * 1000)
    return float(np.median(turns))


def encoding() -> float:
    """Return the milliseconds that the embedded image tower takes per frame of 320 x 240, 16 at once."""
    cpu = torch.device("cpu")
    encoder = FrameEncoder(load_backbone(BackboneConfig()), resolve_precision("auto", cpu), cpu)
    frames = np.random.default_rng(0).integers(0, 255, (16, 240, 320, 3), dtype=np.uint8)
    encoder(frames)
    started = time.process_time()
    for _ in range(10):
        encoder(frames)
    return (time.process_time() - started) / 160 * 1000


def cost_table(bundle: Path, layouts: Sequence[tuple[str, Layout]], dim: int) -> str:
    """Return the table of costs."""
    lines = [f"encoding: {encoding():.2f} ms", "", "| window | one camera | four cameras |", "|---|--:|--:|"]
    for name, layout in layouts:
        lines.append(f"| {name} | {scoring(bundle, layout, 1, dim):.2f} | {scoring(bundle, layout, 4, dim):.2f} |")
    return "\n".join(lines)
