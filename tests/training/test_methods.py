"""Every competitor trains, resumes, is saved and scores as the method does, on one worker or several."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from anomalyclip.baselines.registry import COMPETITORS
from anomalyclip.config import ModelConfig, RunConfig, TrainingConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, new_backbone
from anomalyclip.methods import METHODS, load_bundle
from anomalyclip.model.collectives import rank, world_size
from anomalyclip.model.method import Method, TrainingFeatures
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from anomalyclip.training.checkpoints import CheckpointStore, learnt_state
from anomalyclip.training.fit import FitData, fit, step_inputs, step_loss
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.training.setup import build_model, save_trained
from anomalyclip.training.validation import AUC, LOSS
from tests.small_backbones import WordTokenizer, shrink

CLASSES = ("Arson", "Fighting", "Normal")


def settings(method: str) -> RunConfig:
    model = ModelConfig.model_validate({"method": method})
    return RunConfig(model=model, training=TrainingConfig(epochs=3, warmup_epochs=1, batch_size=8, seed=7))


def normal_videos(count: int, dim: int) -> TrainingFeatures:
    means = torch.randn(count, dim, generator=torch.Generator().manual_seed(0))
    return TrainingFeatures(torch.full((count,), NORMAL_LABEL), means, lambda: means[:, None])


def new_model(backbone: Backbone, config: RunConfig) -> Method:
    model = build_model(CLASSES, backbone, torch.zeros(64), config)
    model.prepare(normal_videos(6, 64))
    return model


def checkpoints(folder: Path) -> CheckpointStore:
    return CheckpointStore(Storage(str(folder)), "run")


@pytest.fixture(scope="module")
def data(bags: list[Bag], cache: Any) -> FitData:
    return FitData(train=bags, validation=bags[::3], cache=cache)


def test_every_value_of_the_setting_is_a_method() -> None:
    for name, method in METHODS.items():
        assert ModelConfig.model_validate({"method": name}).method == name
        assert method.title
    assert set(METHODS) == {"anomalyclip", *COMPETITORS}


@pytest.mark.parametrize("method", COMPETITORS)
def test_a_resumed_competitor_equals_an_unbroken_one_from_training_to_its_bundle(
    method: str, data: FitData, backbone: Backbone, tmp_path: Path
) -> None:
    config = settings(method)
    whole = new_model(backbone, config)
    history = fit(whole, data, config, checkpoints(tmp_path / "whole"))
    assert all({AUC, LOSS} <= row.keys() and row["learning_rate"] > 0 for row in history[1:])
    fit(new_model(backbone, config), data, config, checkpoints(tmp_path / "parts"), stop_after=1)
    torch.rand(7)  # what was drawn before plays no part
    resumed = new_model(backbone, config)
    assert fit(resumed, data, config, checkpoints(tmp_path / "parts")) == history
    weights, found = learnt_state(whole), learnt_state(resumed)
    assert all(torch.equal(value, found[name]) for name, value in weights.items())

    saved = checkpoints(tmp_path / "parts").load(2).weights
    save_trained(tmp_path / "bundle", new_model(backbone, config), saved, config, "tower", "float32")
    loaded, card = load_bundle(tmp_path / "bundle")
    assert (type(loaded), card.model.method) == (COMPETITORS[method], method)
    features = torch.randn(700, 64)
    scores = loaded.score_video(features)
    for ours, theirs in zip(scores, whole.eval().for_scoring().score_video(features), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (scores.scores.shape, scores.probabilities.shape) == ((700,), (700, 3))
    torch.testing.assert_close(scores.probabilities.sum(dim=1), torch.ones(700))


@pytest.mark.parametrize("method", COMPETITORS)
def test_steps_lower_a_competitors_loss_and_move_every_weight(
    method: str, data: FitData, backbone: Backbone, tmp_path: Path
) -> None:
    config = settings(method)
    config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 8})})
    model = new_model(backbone, config)
    before = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    history = fit(model, FitData(data.train, (), data.cache), config, checkpoints(tmp_path))
    assert history[-1]["loss"] < history[0]["loss"]
    after = dict(model.named_parameters())
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []


@pytest.mark.parametrize("method", COMPETITORS)
def test_a_step_in_bfloat16_has_a_loss_in_float32(method: str, data: FitData, backbone: Backbone) -> None:
    config = settings(method)
    config = config.model_copy(update={"training": config.training.model_copy(update={"precision": "bfloat16"})})
    model = new_model(backbone, config).train()
    step = next(iter(step_inputs(data, 1, config, torch.device("cpu"))))
    found, exact = (step_loss(model, step, one) for one in (config, settings(method)))
    for name, term in found.items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(exact[name].item(), rel=0.1, abs=0.05), name


def gradients(backbone: Backbone, data: FitData, file: Path) -> None:
    """One worker's part of two steps of every competitor; the first worker writes the averaged gradients."""
    found = {}
    for method in COMPETITORS:
        config = settings(method)
        model = new_model(backbone, config).double().train()
        parallel = DistributedDataParallel(model, broadcast_buffers=False) if world_size() > 1 else model
        step = next(iter(step_inputs(data, 1, config, torch.device("cpu"))))
        object.__setattr__(step, "features", step.features.double())
        for _ in range(2):  # the second step is refused where a parameter got no gradient in the first
            torch.stack(list(step_loss(parallel, step, config).values())).sum().backward()
        found[method] = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    if rank() == 0:
        torch.save(found, file)


def test_two_workers_compute_the_gradients_of_one(
    data: FitData, backbone: Backbone, run_workers: Callable[..., None], tmp_path: Path
) -> None:
    for workers in (1, 2):
        run_workers(workers, gradients, backbone, data, tmp_path / f"{workers}.pt")
    everyone_alone, everyone_together = (torch.load(tmp_path / f"{workers}.pt") for workers in (1, 2))
    for method in COMPETITORS:
        alone, together = everyone_alone[method], everyone_together[method]
        for name, expected in alone.items():
            assert expected is not None, (method, name)
            # a bias of an attention's keys changes nothing: its gradient is rounding
            assert (together[name] - expected).norm() <= 1e-9 * (expected.norm() + 1e-6), (method, name)


@pytest.mark.parametrize("method", COMPETITORS)
def test_features_without_a_text_tower_suit_competitors_that_read_no_names(method: str, backbone: Backbone) -> None:
    config, model = settings(method), COMPETITORS[method]
    for tower, what in ((None, "there is no text tower"), (backbone, "text features of clip-tiny have 64")):
        if model.reads_text(config.model):
            with pytest.raises(UsageError, match=f"400 numbers, but {what}.*; set another model.method"):
                build_model(CLASSES, tower, torch.zeros(400), config)
        else:
            built = build_model(CLASSES, tower, torch.zeros(400), config)
            built.prepare(normal_videos(4, 400))
            assert built.eval().score_video(torch.randn(20, 400)).scores.shape == (20,)


@pytest.mark.parametrize("method", ["anomalyclip", "actionclip", "vadclip"])
def test_methods_that_read_names_are_saved_with_a_text_tower_of_another_kind_too(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shrink("ViT-B-16-SigLIP2", monkeypatch)  # sees its padding, and projects with a bias
    backbone = dataclasses.replace(new_backbone("ViT-B-16-SigLIP2"), tokenizer=WordTokenizer(64, (), end=1, padding=0))
    config = build_config(settings(method), None, ("model.directions=finetuned", "model.zero_shot=true"))
    model = build_model(CLASSES, backbone, torch.zeros(64), config)
    model.prepare(normal_videos(6, 64))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter) * parameter.requires_grad)
    save_trained(tmp_path, model, learnt_state(model), config, backbone.identity, "float32")
    loaded, _ = load_bundle(tmp_path)
    features = torch.randn(20, 64)
    expected, got = model.eval().score_video(features), loaded.score_video(features)
    torch.testing.assert_close(got.scores, expected.scores)
    assert expected.scores.std() > 0
