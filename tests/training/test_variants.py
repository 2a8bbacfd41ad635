"""Every row of the ablation tables trains, on one worker or several, and is saved and scored like the method."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from anomalyclip.config import ModelConfig, RunConfig
from anomalyclip.features.backbone import Backbone
from anomalyclip.methods import load_bundle
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.model.collectives import rank, world_size
from anomalyclip.training.checkpoints import learnt_state, load_learnt_state
from anomalyclip.training.fit import FitData, StepInput, step_inputs, step_loss
from anomalyclip.training.sampling import Bag
from anomalyclip.training.setup import build_model

CLASSES = ("Arson", "Fighting", "Normal")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "direct optimisation": {"directions": "free"},
    "engineered prompts": {"directions": "engineered"},
    "CoOp, frozen": {"directions": "frozen"},
    "cosine": {"likelihood": "cosine"},
    "magnitude": {"selection": "magnitude"},
    "mlp": {"temporal": "mlp"},
    "transformer": {"temporal": "transformer"},
}
CONTEXT, PROJECTION = "prompt_learner.context", "text_encoder.text_projection"
LEARNING_DIRECTIONS = {
    "direct optimisation": {"class_features"},
    "engineered prompts": set[str](),
    "CoOp, frozen": {CONTEXT},
}


@pytest.fixture(scope="module")
def data(bags: list[Bag], cache: Any) -> FitData:
    return FitData(train=bags, validation=(), cache=cache)


def settings(config: RunConfig, variant: str) -> RunConfig:
    model = ModelConfig(embedding_dim=16, heads=2, **VARIANTS[variant])
    return config.model_copy(update={"model": model})


def new_model(backbone: Backbone, config: RunConfig) -> AnomalyCLIP:
    return build_model(CLASSES, backbone, torch.full((64,), 0.01), config).train()


def first_step(data: FitData, config: RunConfig) -> StepInput:
    return next(iter(step_inputs(data, 1, config, torch.device("cpu"))))


def total(model: nn.Module, step: StepInput, config: RunConfig) -> Tensor:
    return torch.stack(list(step_loss(model, step, config).values())).sum()


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_steps_lower_the_loss_and_move_what_learns_alone(
    variant: str, data: FitData, config: RunConfig, backbone: Backbone
) -> None:
    config = settings(config, variant)
    model, step = new_model(backbone, config), first_step(data, config)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    learning = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, weight_decay=0.0)
    losses = []
    for _ in range(3):
        loss = total(model, step, config)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    directions = {name.removeprefix("directions.") for name in moved if name.startswith("directions.")}
    assert directions == LEARNING_DIRECTIONS.get(variant, {CONTEXT, PROJECTION})
    assert {name for name in before if name.startswith("temporal.")} <= moved


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_model_scores_as_the_trained_one(
    variant: str, config: RunConfig, backbone: Backbone, tmp_path: Path
) -> None:
    config = settings(config, variant)
    model = new_model(backbone, config)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.01 * torch.randn_like(value)
    model(torch.randn(2, 32, 16, 64))  # gives the batch norm statistics of its own
    weights = learnt_state(model)
    resumed = new_model(backbone, config)
    load_learnt_state(resumed, weights)
    card = ModelCard(classes=CLASSES, normal_index=2, model=config.model, backbone=config.backbone,
                     backbone_identity="tower", sampling_rate=1)  # fmt: skip
    save_bundle(tmp_path, weights, resumed.for_scoring().directions(), card)
    loaded, _ = load_bundle(tmp_path)
    features = torch.randn(600, 64)
    expected = model.eval().score_video(features)
    for ours, theirs in zip(loaded.score_video(features), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_text_tower_stays_where_directions_are_free_or_engineered(config: RunConfig, backbone: Backbone) -> None:
    for variant in ("direct optimisation", "engineered prompts"):
        model = new_model(backbone, settings(config, variant))
        assert [name for name in model.state_dict() if name.startswith("directions.")] == ["directions.class_features"]


def gradients(shared: Backbone, data: FitData, config: RunConfig, file: Path) -> None:
    """One worker's part of two steps of every variant; the first worker writes the averaged gradients."""
    found = {}
    for variant in VARIANTS:
        chosen = settings(config, variant)
        backbone = replace(shared, model=copy.deepcopy(shared.model))  # a model in float64 takes the tower with it
        model = new_model(backbone, chosen).double()
        parallel = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
        step = first_step(data, chosen)
        object.__setattr__(step, "features", step.features.double())
        for _ in range(2):  # the second step is refused where a parameter got no gradient in the first
            total(parallel, step, chosen).backward()
        found[variant] = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    if rank() == 0:
        torch.save(found, file)


def test_two_workers_compute_the_gradients_of_one(
    data: FitData, config: RunConfig, backbone: Backbone, run_workers: Callable[..., None], tmp_path: Path
) -> None:
    for workers in (1, 2):
        run_workers(workers, gradients, backbone, data, config, tmp_path / f"{workers}.pt")
    everyone_alone, everyone_together = (torch.load(tmp_path / f"{workers}.pt") for workers in (1, 2))
    for variant in VARIANTS:
        alone, together = everyone_alone[variant], everyone_together[variant]
        assert None not in alone.values(), variant
        for name, expected in alone.items():
            assert (together[name] - expected).norm() <= 1e-9 * expected.norm(), (variant, name)
