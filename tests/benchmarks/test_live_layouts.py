"""The figures of live layouts are those of the live scorer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.live.scorer import LiveScorer
from anomalyclip.live.window import Pushed
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard
from anomalyclip.model.directions import FixedDirections
from tests.benchmarks.live_layouts.footage import Stream
from tests.benchmarks.live_layouts.windows import Pattern, windows_of


@pytest.mark.parametrize("pattern", [Pattern("dense", 1, grid=8), Pattern("spread 2", 2), Pattern("sparse 2", 2, 24)])
@pytest.mark.parametrize("hop, delay, least", [(16, 8, 16), (32, 0, 40)])
def test_scores_follow_from_the_windows_of_the_grid(
    pattern: Pattern, hop: int, delay: int, least: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(segments=32, frames_per_segment=2, embedding_dim=16, heads=2, smoothing=2.0)
    model = AnomalyCLIP(FixedDirections(torch.randn(1, 8)), ("A", "Normal"), 1, torch.randn(8), config).eval()
    card = ModelCard(
        classes=model.classes, normal_index=1, model=config, backbone=BackboneConfig(), backbone_identity="x",
        sampling_rate=1,
    )  # fmt: skip
    features = np.random.default_rng(0).normal(size=(203, 1, 8)).astype(np.float16)
    stream = Stream("s", features, np.zeros(203, np.bool_), "Normal")
    taken = windows_of(model, card, pattern, [stream], tmp_path / "kept.npz")[0].taken(hop, delay, least)
    scorer, scores, known = LiveScorer(model, card, pattern.layout(card, hop, delay, least)), [], list[int]()
    for frame in range(203):
        numbers = np.array([frame])
        found = scorer.push({"s": Pushed(features[frame : frame + 1], numbers / 12, numbers)})["s"].scores
        scores, known = [*scores, *found], known + [frame + 1] * len(found)
    last = scorer.forget("s").scores
    np.testing.assert_allclose(taken.scores, [*scores, *last], atol=1e-6)
    assert taken.known.tolist() == known + [203] * len(last)
