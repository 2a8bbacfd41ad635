"""The arithmetic of RTFM, by numbers worked out here."""

import math

import pytest
import torch

from anomalyclip.baselines.noise import Noise
from anomalyclip.baselines.rtfm import RTFM, RTFMOutput
from anomalyclip.baselines.ssrl import SSRL
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig

CLASSES = ("Arson", "Fighting", "Normal")


def model_of(dim: int = 8, k: int = 2) -> RTFM:
    torch.manual_seed(0)
    return RTFM(CLASSES, 2, torch.zeros(dim), ModelConfig(k=k))


# of two abnormal and two normal videos, three segments each: magnitudes 5, 1, 10; 2, 13, 0; 3, 4, 1; 0.5, 0, 1
FEATURES = torch.tensor([
    [[3.0, 4.0], [1.0, 0.0], [6.0, 8.0]],
    [[0.0, 2.0], [5.0, 12.0], [0.0, 0.0]],
    [[3.0, 0.0], [0.0, 4.0], [0.0, 1.0]],
    [[0.5, 0.0], [0.0, 0.0], [0.0, 1.0]],
], dtype=torch.float64)  # fmt: skip
SCORES = [[0.5, 0.2, 0.9], [0.3, 0.6, 0.1], [0.4, 0.7, 0.05], [0.25, 0.5, 0.75]]
LOGITS = torch.zeros(4, 3, 2, dtype=torch.float64)
LABELS = torch.tensor([0, 1])


def output() -> RTFMOutput:
    logits = LOGITS.clone()
    logits[0, 0, 0], logits[0, 2, 0], logits[1, 1, 0] = 2.0, 4.0, 1.0
    magnitudes = torch.tensor([[5.0, 1.0, 4.0], [13.0, 2.0, 13.5], [0, 0, 0], [0, 0, 0]])
    return RTFMOutput(FEATURES, torch.logit(torch.tensor(SCORES, dtype=torch.float64)), logits, magnitudes)


def test_the_loss_is_that_of_the_segments_of_the_largest_magnitude() -> None:
    model = model_of().eval()
    model.margin.fill_(20.0)
    terms = model.loss_terms(output(), LABELS, LossConfig())
    # selected: segments 2 and 0; 1 and 0; 1 and 0; 2 and 0
    means = [(0.9 + 0.5) / 2, (0.6 + 0.3) / 2, (0.7 + 0.4) / 2, (0.75 + 0.25) / 2]
    entropy = [-math.log(means[0]), -math.log(means[1]), -math.log(1 - means[2]), -math.log(1 - means[3])]
    assert terms["score"].item() == pytest.approx(sum(entropy) / 4)
    abnormal = [math.hypot(4.5, 6.0), math.hypot(2.5, 7.0)]  # length of the mean, not mean of the lengths
    normal = [math.hypot(1.5, 2.0), math.hypot(0.25, 0.5)]
    apart = [(abs(20 - abnormal[i]) + normal[i]) ** 2 for i in range(2)]
    assert terms["magnitude"].item() == pytest.approx(1e-4 * (100 / 20) ** 2 * sum(apart) / 2)
    sequence = [0.5, 0.2, 0.9, 0.3, 0.6, 0.1]  # goes on from the first video to the second
    smooth = sum((sequence[i + 1] - sequence[i]) ** 2 for i in range(5))
    assert terms["smooth"].item() == pytest.approx(8e-4 * smooth)
    assert terms["sparse"].item() == pytest.approx(8e-3 * math.sqrt(sum(value**2 for value in sequence)))
    # averaged over the segments of the largest magnitudes in evaluation: 0 and 2; 2 and 0, of which no logit is set
    classes = [math.log(math.exp(3.0) + 1) - 3.0, math.log(2) - 0.0]
    assert terms["classes"].item() == pytest.approx(sum(classes) / 2)
    assert set(terms) == {"score", "magnitude", "smooth", "sparse", "classes"}


def test_a_hidden_segment_is_not_selected() -> None:
    model = model_of(k=1).eval()
    model.margin.fill_(20.0)
    keep = torch.ones(4, 3, dtype=torch.bool)
    keep[0, 2] = False
    terms = model.loss_terms(output(), LABELS, LossConfig(), keep_top=keep)
    chosen = [0.5, 0.6, 0.7, 0.75]
    entropy = [-math.log(chosen[0]), -math.log(chosen[1]), -math.log(1 - chosen[2]), -math.log(1 - chosen[3])]
    assert terms["score"].item() == pytest.approx(sum(entropy) / 4)


def test_without_as_many_normal_videos_the_first_pairs_count() -> None:
    model = model_of(k=1).eval()
    model.margin.fill_(20.0)
    whole = output()
    terms = model.loss_terms(RTFMOutput(*(part[:3] for part in whole)), LABELS, LossConfig())
    assert terms["magnitude"].item() == pytest.approx(1e-4 * 25 * (abs(20 - 10) + 4) ** 2)


def test_the_margin_comes_from_the_first_step_in_proportion_to_the_median_magnitude() -> None:
    model = model_of().train()
    model.loss_terms(output(), LABELS, LossConfig())
    # 0, 0, 0.5, 1, 1, 1, 2, 3, 4, 5, 10, 13: the lower of the two in the middle
    assert model.margin.item() == pytest.approx(1.1 * 1.0)
    model.loss_terms(output()._replace(features=10 * FEATURES), LABELS, LossConfig())
    assert model.margin.item() == pytest.approx(1.1 * 1.0)


def test_the_class_head_changes_nothing_of_the_base() -> None:
    model = model_of().train()
    features, noise = torch.randn(4, 5, 3, 8), torch.arange(4)
    model.loss_terms(model(features, noise), LABELS, LossConfig())["classes"].backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_the_class_head_sees_the_base_in_evaluation_mode() -> None:
    model, features, noise = model_of().train(), torch.randn(4, 5, 3, 8), torch.arange(4)
    found = model(features, noise)
    assert model.training and model.block.training
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    expected = model.eval().block(features.mean(dim=2))
    torch.testing.assert_close(found.logits, model.classifier(expected))
    torch.testing.assert_close(found.magnitudes, expected.norm(dim=-1))
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())


def test_the_optimiser_is_adam_at_a_constant_rate_with_decay_on_the_base_alone() -> None:
    model = model_of()
    optimizer = model.optimizer(TrainingConfig())
    assert type(optimizer) is torch.optim.Adam
    base, head = optimizer.param_groups
    assert (base["weight_decay"], head["weight_decay"]) == (5e-3, 0.0)
    assert [id(one) for one in head["params"]] == [id(one) for one in model.classifier.parameters()]
    assert len(base["params"]) + 2 == len(list(model.parameters()))
    assert {model.learning_rate(epoch, TrainingConfig()) for epoch in (0, 3, 14)} == {1e-3}


def test_dropout_of_seven_tenths_stands_before_selection_and_in_the_head() -> None:
    model = model_of(64).train()
    features, noise = torch.randn(2, 5, 3, 64), torch.arange(2)
    found = model(features, noise)
    plain = model(features)
    kept = found.features != 0
    assert 0.2 < kept.float().mean().item() < 0.4
    torch.testing.assert_close(found.features[kept], (plain.features / (1 - 0.7))[kept])
    head = model.head(torch.ones(2, 5, 64), None)
    assert not torch.equal(model.head(torch.ones(2, 5, 64), Noise(noise)), head)


def test_biases_start_at_zero_and_the_first_stage_of_ssrl_is_rtfm() -> None:
    ours = model_of().state_dict()
    torch.manual_seed(0)
    theirs = SSRL(CLASSES, 2, torch.zeros(8), ModelConfig(k=2)).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not any(value.any() for name, value in ours.items() if name.endswith("bias"))
