from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anomalyclip.benchmark.pictures.pool import PicturePool
from anomalyclip.benchmark.pretraining.accuracy import zero_shot_accuracy
from anomalyclip.benchmark.pretraining.contrastive import Pretraining, learning_rate
from anomalyclip.benchmark.pretraining.settings import AugmentationSettings, PretrainingSettings
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import new_backbone

New = Callable[..., Pretraining]


@pytest.fixture
def settings(little_clip: str) -> PretrainingSettings:
    return PretrainingSettings(
        architecture=little_clip, steps=60, warmup_steps=5, batch_size=32, learning_rate=5e-3, log_steps=20
    )


@pytest.fixture
def new(squares: PicturePool, settings: PretrainingSettings) -> New:
    def new(augmentation: AugmentationSettings | None = None, **changes: Any) -> Pretraining:
        changed = settings.model_copy(update=changes)
        return Pretraining(
            squares.pixels, squares.captions, squares.concepts, changed, augmentation or AugmentationSettings()
        )

    return new


def weights(training: Pretraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in first if not torch.equal(first[name], second[name])]


def pretrain(
    squares: PicturePool,
    settings: PretrainingSettings,
    on_log: Callable[[int, dict[str, float]], None],
    augmentation: AugmentationSettings,
) -> torch.nn.Module:
    """Train to the end and return the model as the command stores it."""
    training = Pretraining(squares.pixels, squares.captions, squares.concepts, settings, augmentation)
    while training.step < settings.steps:
        on_log(training.step + settings.log_steps, training.run(settings.log_steps))
    return training.model.eval().requires_grad_(False)


def test_a_short_training_tells_concepts_by_their_names(
    squares: PicturePool, settings: PretrainingSettings, unvaried: AugmentationSettings
) -> None:
    logged: list[tuple[int, float]] = []
    model = pretrain(squares, settings, lambda step, figures: logged.append((step, figures["loss"])), unvaried)
    backbone = new_backbone(settings.architecture)
    before, after = (
        zero_shot_accuracy(each, backbone.tokenizer, backbone.preprocess, squares).top1
        for each in (backbone.model, model)
    )
    assert before < 0.5
    assert after > 0.85
    assert [step for step, _ in logged] == [20, 40, 60]
    assert logged[-1][1] < logged[0][1] - 0.5
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_seed_decides_the_weights(new: New) -> None:
    first, again, other = new(), new(), new(seed=7)
    for training in (first, again, other):
        torch.rand(3)  # whatever else was drawn before
        training.run(3)
    assert not differing(weights(first), weights(again))
    assert differing(weights(first), weights(other))


def test_resumed_training_equals_unbroken_training(new: New) -> None:
    unbroken, broken, resumed = new(), new(), new()
    unbroken.run(9)
    broken.run(4)
    resumed.restore(broken.checkpoint([]))
    assert resumed.step == 4
    resumed.run(5)
    assert not differing(weights(unbroken), weights(resumed))


def test_only_tokens_that_occur_in_captions_learn(new: New) -> None:
    training = new()
    before = weights(training)["token_embedding.weight"]
    training.run(3)
    learnt = (weights(training)["token_embedding.weight"] != before).any(dim=1).nonzero().squeeze(1)
    padding = 0
    assert set(learnt.tolist()) == set(training.captions.vocabulary.tolist()) - {padding}


def test_shortened_captions_have_the_features_of_open_clip(new: New, squares: PicturePool) -> None:
    training = new()
    training.run(1)
    ranks = training.captions.sample(torch.arange(4), torch.Generator().manual_seed(0))
    tokens = F.pad(training.captions.vocabulary[ranks], (0, 77 - ranks.shape[1]))
    with torch.no_grad():
        expected = training.model.encode_text(tokens, normalize=True)  # type: ignore[operator]
        torch.testing.assert_close(training._text_features(ranks), expected, atol=1e-5, rtol=1e-4)


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own(new: New) -> None:
    training = new()
    shown: list[list[int]] = []
    images = training._images
    training._images = lambda chosen, generator: shown.append(chosen.tolist()) or images(chosen, generator)  # type: ignore[func-returns-value,method-assign]
    training.run(12)
    first, second = np.concatenate(shown[:6]), np.concatenate(shown[6:])
    assert sorted(first) == sorted(second) == list(range(192))
    assert list(first) != list(second)


def test_the_same_picture_is_varied_anew_every_step(squares: PicturePool, settings: PretrainingSettings) -> None:
    same = np.repeat(squares.pixels[:1], 32, axis=0)
    training = Pretraining(same, squares.captions[:1] * 32, squares.concepts[:1] * 32, settings, AugmentationSettings())
    shown: list[torch.Tensor] = []
    training._image_tower.register_forward_pre_hook(lambda _, images: shown.append(images[0]))
    training.run(2)
    assert (shown[0] != shown[1]).flatten(1).any(dim=1).all()


def test_the_learning_rate_rises_by_steps_and_falls_along_a_cosine(settings: PretrainingSettings) -> None:
    rates = [learning_rate(step, settings) for step in range(settings.steps)]
    np.testing.assert_allclose(rates[:5], 5e-3 * np.arange(1, 6) / 5)
    assert rates[5] == 5e-3
    assert rates[5 + 55 // 2] == pytest.approx(2.5e-3, rel=0.05)
    assert 0 < rates[-1] < 1e-5


def test_the_logit_scale_stays_below_its_highest(new: New) -> None:
    assert new(max_logit_scale=10.0).run(1)["logit_scale"] == pytest.approx(10)


def test_a_warm_up_must_end_before_the_training() -> None:
    with pytest.raises(ValueError, match="warmup_steps=50 must be below steps=50"):
        PretrainingSettings(steps=50, warmup_steps=50)


def test_an_unknown_architecture_is_refused_with_the_nearest(new: New) -> None:
    with pytest.raises(UsageError, match=r"unknown architecture clip-tinny; nearest in open_clip: .*clip-tiny"):
        new(architecture="clip-tinny")
