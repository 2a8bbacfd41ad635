"""A training step of the method at its UCF-Crime settings and a batch of 8 videos, its parts, and what feeds it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.feature_file import FeatureWriter
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.losses import loss_terms, semantic_selection
from anomalyclip.model.selector import segment_sums
from anomalyclip.presets import preset
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.training.fit import FitData, StepInput, fit, step_inputs, step_loss
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, draw_clip, epoch_batches
from anomalyclip.training.setup import build_model
from tests.benchmarks.bench import Case

VIDEOS, DIM, STORED = 8, 512, 4000
SETTINGS = (f"training.batch_size={VIDEOS}", "training.epochs=2", "training.warmup_epochs=1")
CONFIG: RunConfig = build_config(preset("ucf-crime"), None, SETTINGS)
BFLOAT16 = build_config(CONFIG, None, ["training.precision=bfloat16"])


def cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of the training."""
    bags = [Bag(f"v{number}", number // 2 if number % 2 else NORMAL_LABEL) for number in range(2 * VIDEOS)]
    cache = _cache(folder, bags)
    data = FitData(bags, (), cache)
    yield Case(
        f"gather a batch of {VIDEOS} clips", lambda: list(step_inputs(data, 0, CONFIG, torch.device("cpu"))),
        "index, then stack", lambda: _stacked(cache, bags),
    )  # fmt: skip
    model, step = _model(), next(iter(step_inputs(data, 0, CONFIG, torch.device("cpu"))))

    whole = partial(_step, model, step, CONFIG)
    prompts, end_of_text = model.directions.prompt_learner(torch.arange(13))
    padded = torch.nn.functional.pad(prompts, (0, 0, 0, 77 - prompts.shape[1])).detach().requires_grad_()
    yield Case(
        "text tower, forward and backward", lambda: model.directions().sum().backward(),
        "over all 77 positions", lambda: model.directions.text_encoder(padded, end_of_text).sum().backward(),
    )  # fmt: skip
    directions = torch.randn(13, DIM, requires_grad=True)
    for part, run in (
        ("selector", lambda: model.selector(step.features, directions, torch.zeros(DIM)).sum().backward()),
        ("temporal model", lambda: model.temporal(step.features).sum().backward()),
        ("selection and loss", lambda: _loss(step)),
    ):
        yield Case(f"{part}, forward and backward", run, "the whole step", whole)
    yield Case("step in bfloat16", partial(_step, model, step, BFLOAT16), "in float32", whole)
    yield Case("step in float32", whole, "its convolutions alone", partial(_convolutions, model))
    steps = len(list(epoch_batches(bags, 0, CONFIG.training)))
    yield Case(
        f"epoch of {steps} steps", lambda: fit(model, data, CONFIG, _checkpoints(folder), stop_after=1),
        "the steps alone", lambda: [whole() for _ in range(steps)],
    )  # fmt: skip
    scorer, features = model.eval().for_scoring(), torch.randn(STORED, DIM).half()
    yield Case(
        f"evaluation of {STORED} features", lambda: scorer.score_video(features),
        "clips of 512 features one by one", lambda: _clips(scorer, features),
    )  # fmt: skip


def _step(model: AnomalyCLIP, step: StepInput, config: RunConfig) -> None:
    _total(step_loss(model, step, config)).backward()


def _convolutions(model: AnomalyCLIP) -> None:
    """Forward and backward of the Temporal model's convolutions on grids of a batch, with nothing in between."""
    for layer in model.temporal.axial.layers:
        for convolution in (part for part in layer.modules() if isinstance(part, nn.Conv2d)):
            grid = torch.randn(VIDEOS, convolution.in_channels, 32, 16, requires_grad=True)
            convolution(grid).sum().backward()


def _model() -> AnomalyCLIP:
    classes = sorted([*(CONFIG.data.classes or ()), "Normal"])
    backbone = load_backbone(BackboneConfig(name="ViT-B-16-quickgelu", weights="random"))
    return build_model(classes, backbone, torch.zeros(DIM), CONFIG).train()


def _cache(folder: Path, bags: list[Bag]) -> FeatureCache:
    store = FeatureStore(Storage(str(folder / "storage")), "bench")
    draw = np.random.default_rng(0)
    for bag in bags:
        with FeatureWriter(folder / "features", 1) as writer:
            writer.append(draw.normal(size=(STORED, 1, DIM)).astype(np.float16))
            writer.describe({"num_frames": str(STORED), "fps": "25.0"})
        store.publish(folder / "features", bag.video_id)
        store.record([ExtractionResult(bag.video_id, 1, 1, bag.video_id, STORED, STORED, 25.0)])
    return FeatureCache.build(store, {bag.video_id: bag.video_id for bag in bags}, max_gigabytes=1.0)


def _checkpoints(folder: Path) -> CheckpointStore:
    number = len(list(folder.glob("run-*")))
    (folder / f"run-{number}").mkdir()
    return CheckpointStore(Storage(str(folder / f"run-{number}")), "runs/bench")


def _stacked(cache: FeatureCache, bags: list[Bag]) -> None:
    for batch in epoch_batches(bags, 0, CONFIG.training):
        clips = [(draw.bag.video_id, draw_clip(draw, STORED, 0, 0, CONFIG.model)) for draw in batch.part(0, 1)]
        torch.stack([torch.from_numpy(cache.video(video)[clip.frames, clip.crop]) for video, clip in clips]).float()


def _loss(step: StepInput) -> None:
    logits = torch.randn(VIDEOS, 32, 16, 13, requires_grad=True)
    anomaly_logits = torch.randn(VIDEOS, 32, 16, requires_grad=True)
    selection = semantic_selection(segment_sums(logits), step.labels, 3, step.keep_top, step.keep_bottom)
    _total(loss_terms(logits, anomaly_logits, step.labels, selection, CONFIG.loss)).backward()


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _clips(model: AnomalyCLIP, features: Tensor) -> None:
    with torch.inference_mode():
        for clip in features.float().split(512):
            model(torch.nn.functional.pad(clip, (0, 0, 0, 512 - len(clip))).reshape(1, 32, 16, DIM))
