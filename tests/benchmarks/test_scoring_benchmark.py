"""One clip scored by the command, from its start to its result, beside a bare loop that only decodes and encodes it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.conftest import ROOT
from tests.registered import write_bundle

pytestmark = pytest.mark.accept

BARE = """
import sys, torch
from anomalyclip.config import BackboneConfig
from anomalyclip.data.video import VideoReader
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
encoder = FrameEncoder(load_backbone(BackboneConfig()), "float32", torch.device("cpu"))
print(sum(len(encoder(batch)) for batch in VideoReader(sys.argv[1])))
"""


def test_a_clip_beside_a_bare_loop(
    benchmark: BenchmarkFixture, draw_video: Callable[..., Path], tmp_path: Path
) -> None:
    clip = draw_video(tmp_path / "clip.mp4", num_frames=750, width=320, height=240)
    model = write_bundle(tmp_path / "model", 0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}

    def seconds(arguments: Sequence[object]) -> float:
        started = time.perf_counter()
        line = [sys.executable, *map(str, arguments)]
        subprocess.run(line, env=environment, check=True, capture_output=True)
        return time.perf_counter() - started

    def score(number: int) -> float:
        options = ["--threshold", "0.5", "--storage", tmp_path / f"storage-{number}"]
        return seconds([ROOT / "workflows" / "score.py", model, clip, *options])

    turns = [(seconds(["-c", BARE, clip]), score(turn)) for turn in range(3)]
    bare, scored = (min(column) for column in zip(*turns, strict=True))
    benchmark.extra_info.update(bare=bare, scored=scored)
    benchmark.pedantic(score, args=(3,), rounds=1)
    print(f"\nbare loop {bare:.1f} s, score.py {scored:.1f} s, {scored - bare:+.1f} s")
