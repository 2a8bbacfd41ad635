"""One training step at the paper's UCF-Crime size (batch 64), whole and by its parts, and what feeds it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.losses import loss_terms, semantic_selection
from anomalyclip.model.selector import segment_sums
from anomalyclip.presets import preset
from anomalyclip.storage import Storage
from anomalyclip.training.fit import StepInput, step_loss
from anomalyclip.training.sampling import Bag, Draw, draw_clip
from anomalyclip.training.setup import build_model

pytestmark = pytest.mark.accept
VIDEOS, DIM = 64, 512
CONFIG: RunConfig = preset("ucf-crime")


@pytest.fixture(scope="module")
def model() -> AnomalyCLIP:
    classes = sorted([*(CONFIG.data.classes or ()), "Normal"])
    backbone = load_backbone(BackboneConfig(name="ViT-B-16-quickgelu", weights="random"))
    return build_model(classes, backbone, torch.zeros(DIM), CONFIG).train()


@pytest.fixture(scope="module")
def step() -> StepInput:
    torch.manual_seed(0)
    features = torch.randn(VIDEOS, 32, 16, DIM)
    keep = torch.rand(VIDEOS, 32) > 0.7
    return StepInput(features, torch.randint(0, 13, (VIDEOS // 2,)), keep, keep, VIDEOS // 2, torch.zeros(VIDEOS))


def measure(benchmark: BenchmarkFixture, function: Callable[[], object]) -> None:
    benchmark.pedantic(function, rounds=3, warmup_rounds=1)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def test_whole_step(benchmark: BenchmarkFixture, model: AnomalyCLIP, step: StepInput) -> None:
    measure(benchmark, lambda: total(step_loss(model, step, CONFIG)).backward())


def test_text_tower_over_the_needed_positions(benchmark: BenchmarkFixture, model: AnomalyCLIP) -> None:
    measure(benchmark, lambda: model.directions().sum().backward())


def test_text_tower_over_all_77_positions(benchmark: BenchmarkFixture, model: AnomalyCLIP) -> None:
    prompts, end_of_text = model.directions.prompt_learner(torch.arange(13))
    padded = torch.nn.functional.pad(prompts, (0, 0, 0, 77 - prompts.shape[1])).detach().requires_grad_()
    measure(benchmark, lambda: model.directions.text_encoder(padded, end_of_text).sum().backward())


def test_selector(benchmark: BenchmarkFixture, model: AnomalyCLIP, step: StepInput) -> None:
    directions = torch.randn(13, DIM, requires_grad=True)
    measure(benchmark, lambda: model.selector(step.features, directions, torch.zeros(DIM)).sum().backward())


@pytest.mark.parametrize("direction", ["forward", "forward and backward"])
def test_temporal_model(benchmark: BenchmarkFixture, model: AnomalyCLIP, step: StepInput, direction: str) -> None:
    def run() -> None:
        output = model.temporal(step.features)
        if direction != "forward":
            output.sum().backward()

    measure(benchmark, run)


def test_selection_and_loss(benchmark: BenchmarkFixture, step: StepInput) -> None:
    logits = torch.randn(VIDEOS, 32, 16, 13, requires_grad=True)
    anomaly_logits = torch.randn(VIDEOS, 32, 16, requires_grad=True)

    def run() -> None:
        selection = semantic_selection(segment_sums(logits), step.labels, 3, step.keep_top, step.keep_bottom)
        total(loss_terms(logits, anomaly_logits, step.labels, selection, CONFIG.loss)).backward()

    measure(benchmark, run)


def test_evaluation_of_4000_frames(benchmark: BenchmarkFixture, model: AnomalyCLIP) -> None:
    scorer, features = model.for_scoring(), torch.randn(4000, DIM).half()
    measure(benchmark, lambda: scorer.score_video(features))
    benchmark.extra_info["frames/s"] = 4000 / benchmark.stats.stats.median


@pytest.mark.parametrize("source", ["cache", "whole file"])
def test_one_clip_of_a_video_of_4000_frames(
    benchmark: BenchmarkFixture, storage: Storage, put_features: Callable[..., None], tmp_path: Path, source: str
) -> None:
    features = np.random.default_rng(0).normal(size=(4000, DIM)).astype(np.float16)
    store = FeatureStore(storage, "benchmark")
    put_features(store, "video", features)
    np.save(tmp_path / "video.npy", features.astype(np.float32))
    cache = FeatureCache.build(store, {"video": "video"}, max_gigabytes=1.0)
    frames = draw_clip(Draw(Bag("video", 0), 0), 4000, 0, 0, CONFIG.model).frames

    def run() -> Tensor:
        if source == "cache":
            return torch.from_numpy(cache.gather("video", frames, 0)).float()
        return torch.from_numpy(np.load(tmp_path / "video.npy")[frames])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waking a second thread costs more than converting a clip
    benchmark(run)
    torch.set_num_threads(threads)
