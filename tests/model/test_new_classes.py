from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.methods import NewNames, load_bundle, load_with_names
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, save_bundle
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.new_classes import near_names, new_probabilities
from anomalyclip.model.prompts import PromptLearner
from anomalyclip.runs import TENSORS
from anomalyclip.training.checkpoints import learnt_state
from anomalyclip.training.setup import build_model

CLASSES = ("Arson", "Fighting", "Normal")
NAMES = ("dog", "person falling")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


def new_bundle(folder: Path, backbone: Backbone, **settings: Any) -> tuple[AnomalyCLIP, Path]:
    """Return a model of these settings that learnt something, and the folder of its bundle."""
    config = RunConfig(model=ModelConfig(embedding_dim=16, heads=2, **settings))
    model: Any = build_model(CLASSES, backbone, torch.randn(64), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("context", "text_projection")) and parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    model.train()(torch.randn(2, 32, 16, 64))  # gives the batch norm statistics of its own
    card = ModelCard(
        classes=CLASSES, normal_index=2, model=config.model, backbone=config.backbone,
        backbone_identity=backbone.identity, sampling_rate=1,
    )  # fmt: skip
    save_bundle(folder, learnt_state(model), model.for_scoring().directions(), card)
    return model.eval(), folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shared_context": True, "standardise": True, "concat_logits": True, "smoothing": 2.0},
        {"directions": "frozen", "context_text": "a video of a"},
        {"directions": "engineered"},
        {"likelihood": "cosine"},
    ],
)
def test_new_names_leave_everything_else_as_it_was(tmp_path: Path, backbone: Backbone, settings: Any) -> None:
    _, bundle = new_bundle(tmp_path, backbone, **settings)
    features = torch.randn(600, 64)
    before = load_bundle(bundle)[0].score_video(features)
    model, _, _ = load_with_names(bundle, NewNames(NAMES, backbone))
    after = model.score_video(features)
    assert model.classes == CLASSES and model.new_classes == NAMES
    assert torch.equal(after.scores, before.scores)
    assert torch.equal(after.probabilities[:, :3], before.probabilities)
    new = after.probabilities[:, 3:]
    assert new.shape == (600, 2) and (new >= 0).all() and (new <= after.scores[:, None]).all()
    alone, _, _ = load_with_names(bundle, NewNames(("dog",), backbone))
    assert torch.allclose(alone.score_video(features).probabilities[:, 3], new[:, 0], atol=1e-6)


def test_a_direction_is_that_of_the_mean_context_and_the_learnt_projection(tmp_path: Path, backbone: Backbone) -> None:
    """By hand: Eq. 1 with the name after the mean of the abnormal contexts, and the mean of the trained statistics."""
    learnt, bundle = new_bundle(tmp_path, backbone)
    source: Any = learnt.directions
    learner = PromptLearner(["dog"], backbone.tokenizer, text_tower(backbone.model), context_length=8)
    encoder = TextEncoder(text_tower(backbone.model))
    features = torch.randn(512, 64)
    with torch.no_grad():
        learner.context.copy_(source.prompt_learner.context[:2].mean(dim=0, keepdim=True))
        encoder.text_projection.copy_(source.text_encoder.text_projection)
        direction = encoder(*learner(torch.tensor([0])))[0] - learnt.normality_prototype
        norm = learnt.selector.batch_norm  # type: ignore[union-attr]
        projected = (features - learnt.normality_prototype) @ (direction / direction.norm())
        z = (projected - norm.running_mean.mean()) / (norm.running_var.mean() + 1e-5).sqrt()
    scored = load_with_names(bundle, NewNames(("dog",), backbone))[0].score_video(features)
    others = scored.logits[:, :2].exp().sum(dim=-1)
    assert torch.allclose(scored.logits[:, 2], z, atol=1e-4)
    assert torch.allclose(scored.probabilities[:, 3], scored.scores * z.exp() / (z.exp() + others), atol=1e-5)


def test_a_probability_is_that_of_a_softmax_with_the_trained_classes() -> None:
    logits, new, scores = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([0.5])
    found = new_probabilities(logits, new, scores)
    for name in (0, 1):
        joint = torch.cat([logits, new[:, name : name + 1]], dim=-1).softmax(dim=-1)
        assert torch.allclose(found[:, name], 0.5 * joint[:, 2])


def test_a_name_is_close_where_it_is_closer_than_any_two_trained_classes() -> None:
    trained = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    names, texts = ["near", "far", "between"], torch.tensor([[5.0, 0.5], [1.0, -1.2], [1.0, 0.5]])
    near = near_names(names, texts, ["Arson", "Fighting"], trained)
    assert [(each.name, each.trained) for each in near] == [("near", "Arson"), ("between", "Fighting")]
    assert near[0].cosine == pytest.approx(0.995, abs=1e-3)
    assert near_names(names, texts, ["Arson"], trained[:1]) == []


def test_a_known_name_is_close(tmp_path: Path, backbone: Backbone) -> None:
    _, bundle = new_bundle(tmp_path, backbone, directions="engineered")
    near = load_with_names(bundle, NewNames(("people fighting", "dog"), backbone))[2]
    assert [(each.name, each.trained) for each in near] == [("people fighting", "Fighting")]


@pytest.mark.parametrize(
    "settings, lost, message",
    [
        ({"directions": "free"}, (), "the model's directions are free"),
        ({}, ("prompts.context",), r"lack its learnt prompts \(prompts.context\): train or import it again"),
    ],
)
def test_a_model_without_prompts_is_refused(
    tmp_path: Path, backbone: Backbone, settings: Any, lost: tuple[str, ...], message: str
) -> None:
    _, bundle = new_bundle(tmp_path, backbone, **settings)
    tensors = load_file(bundle / TENSORS)
    save_file({name: value for name, value in tensors.items() if name not in lost}, bundle / TENSORS)
    with pytest.raises(UsageError, match=message):
        load_with_names(bundle, NewNames(("dog",), backbone))


def test_another_text_tower_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    _, bundle = new_bundle(tmp_path, backbone)
    other = load_backbone(BackboneConfig())
    with torch.no_grad():
        text_tower(other.model).token_embedding.weight.mul_(-1)
    with pytest.raises(UsageError, match="this text tower is not the one that the model was trained with"):
        load_with_names(bundle, NewNames(("dog",), other))


@pytest.mark.parametrize("settings", [{}, {"directions": "engineered"}])
def test_a_name_of_too_many_tokens_is_refused(tmp_path: Path, backbone: Backbone, settings: Any) -> None:
    _, bundle = new_bundle(tmp_path, backbone, **settings)
    load_with_names(bundle, NewNames(("q " * 50,), backbone))
    with pytest.raises(UsageError, match=r"(is too long for|exceeds) the text tower"):
        load_with_names(bundle, NewNames(("q " * 74,), backbone))
