from typing import Any

import pytest
import torch

from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.directions import FixedDirections, FreeDirections, PromptDirections
from anomalyclip.model.prompts import CONTEXT_STD, PromptLearner

CLASSES = ["Arson", "Normal", "Road_accident"]
ABNORMAL = [0, 2]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


def learner(backbone: Backbone, **options: Any) -> PromptLearner:
    tower = text_tower(backbone.model)
    torch.manual_seed(0)
    return PromptLearner(CLASSES, backbone.tokenizer, tower, **{"context_length": 8, **options})


def directions(backbone: Backbone, **settings: Any) -> PromptDirections:
    torch.manual_seed(0)
    tower = text_tower(backbone.model)
    return PromptDirections(CLASSES, ABNORMAL, tower, backbone.tokenizer, ModelConfig(**settings))


def test_the_context_stands_between_start_and_name(backbone: Backbone) -> None:
    prompts, end = learner(backbone)(torch.arange(3))
    tokens = backbone.tokenizer(["X X X X X X X X Arson."])[0]
    embeddings = text_tower(backbone.model).token_embedding(tokens)
    ours = learner(backbone)
    assert tokens.argmax() == end[0]
    torch.testing.assert_close(prompts[0, 0], embeddings[0])
    torch.testing.assert_close(prompts[0, 1:9], ours.context[0])
    torch.testing.assert_close(prompts[0, 9 : end[0] + 1], embeddings[9 : end[0] + 1])


def test_each_class_has_a_context_of_its_own_drawn_small(backbone: Backbone) -> None:
    context = learner(backbone, context_length=60).context
    assert context.shape == (3, 60, 64)
    assert context.std().item() == pytest.approx(CONTEXT_STD, rel=0.03)
    assert not torch.equal(context[0], context[1])


@pytest.mark.parametrize("options", [{"context_length": 73}, {"context_text": "word " * 80}])
def test_a_context_that_leaves_no_room_for_the_class_is_refused(backbone: Backbone, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="exceed the text tower's 77 tokens"):
        learner(backbone, **options)


def test_a_shared_context_is_one_for_all_classes(backbone: Backbone) -> None:
    shared = learner(backbone, shared_context=True)
    prompts, _ = shared(torch.arange(3))
    assert shared.context.shape == (1, 8, 64)
    assert all(torch.equal(prompts[index, 1:9], shared.context[0]) for index in range(3))


@pytest.mark.parametrize("shared", [False, True])
def test_a_context_text_starts_the_context_with_its_own_words(backbone: Backbone, shared: bool) -> None:
    text = "a video from a CCTV camera of a"
    given = learner(backbone, context_text=text.replace(" ", "_"), shared_context=shared)
    words = text_tower(backbone.model).token_embedding(backbone.tokenizer([text])[0, 1:9])
    assert given.context_length == 8
    assert all(torch.equal(context, words) for context in given.context)
    prompts, end = given(torch.tensor([2]))
    whole = backbone.tokenizer([f"{text} Road accident."])[0]
    torch.testing.assert_close(prompts[0], text_tower(backbone.model).token_embedding(whole[: prompts.shape[1]]))
    assert end[0] == whole.argmax()


def test_only_context_and_projection_learn_and_normals_context_does_not(backbone: Backbone) -> None:
    source = directions(backbone)
    source().square().sum().backward()
    learning = {name for name, parameter in source.named_parameters() if parameter.grad is not None}
    assert learning == {"prompt_learner.context", "text_encoder.text_projection"}
    assert learning == {name for name, parameter in source.named_parameters() if parameter.requires_grad}
    gradient = source.prompt_learner.context.grad
    assert gradient is not None
    assert [bool(part.abs().sum() > 0) for part in gradient] == [True, False, True]


def test_beside_a_frozen_projection_only_the_context_learns(backbone: Backbone) -> None:
    source, finetuned = directions(backbone, directions="frozen"), directions(backbone)
    torch.testing.assert_close(source(), finetuned())
    source().square().sum().backward()
    learning = {name for name, parameter in source.named_parameters() if parameter.grad is not None}
    assert learning == {"prompt_learner.context"}
    assert learning == {name for name, parameter in source.named_parameters() if parameter.requires_grad}


def test_learning_leaves_the_backbones_own_projection_alone(backbone: Backbone) -> None:
    source = directions(backbone)
    before = text_tower(backbone.model).text_projection.clone()
    with torch.no_grad():
        source.text_encoder.text_projection.zero_()
    assert torch.equal(text_tower(backbone.model).text_projection, before)


def test_class_features_of_a_given_text_are_the_backbones_own(backbone: Backbone) -> None:
    source = directions(backbone, context_text="a video from a CCTV camera of a")
    texts = [f"a video from a CCTV camera of a {name}." for name in ("Arson", "Road accident")]
    expected = backbone.model.encode_text(backbone.tokenizer(texts))  # type: ignore[operator]
    torch.testing.assert_close(source(), expected, rtol=1e-4, atol=1e-5)


def test_free_directions_are_drawn_and_learn() -> None:
    torch.manual_seed(0)
    free = FreeDirections(20, 512, std=0.3)
    assert free().shape == (20, 512)
    assert free().std().item() == pytest.approx(0.3, rel=0.05)
    free().sum().backward()
    assert [(name, value.grad is not None) for name, value in free.named_parameters()] == [("class_features", True)]


def test_fixed_directions_give_what_they_hold_and_learn_nothing() -> None:
    features = torch.randn(2, 8)
    fixed = FixedDirections(features)
    assert torch.equal(fixed(), features)
    assert list(fixed.parameters()) == []
    assert list(fixed.state_dict()) == ["class_features"]
