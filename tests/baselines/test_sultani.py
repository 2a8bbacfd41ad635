"""The arithmetic of Sultani et al., by numbers worked out here."""

import math

import pytest
import torch

from anomalyclip.baselines.sultani import Sultani, SultaniOutput
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig

CLASSES = ("Arson", "Fighting", "Normal")


def model_of(dim: int = 2) -> Sultani:
    torch.manual_seed(0)
    return Sultani(CLASSES, 2, torch.zeros(dim), ModelConfig())


def test_the_loss_is_the_hinge_of_all_pairs_and_two_terms_of_the_abnormal_scores() -> None:
    abnormal = [[0.2, 0.9, 0.5], [0.1, 0.3, 0.4]]
    normal = [[0.6, 0.1, 0.2], [0.3, 0.2, 0.1], [0.05, 0.0625, 0.03125]]
    logits = torch.logit(torch.tensor(abnormal + normal, dtype=torch.float64))
    terms = model_of().loss_terms(SultaniOutput(logits), torch.tensor([0, 1]), LossConfig())
    # highest scores: abnormal 0.9 and 0.4, normal 0.6, 0.3 and 0.0625
    per_normal = [
        (1 - 0.9 + 0.6) + (1 - 0.4 + 0.6),
        (1 - 0.9 + 0.3) + (1 - 0.4 + 0.3),
        (1 - 0.9 + 0.0625) + (1 - 0.4 + 0.0625),
    ]
    assert terms["ranking"].item() == pytest.approx(sum(per_normal) / 3)
    assert terms["sparse"].item() == pytest.approx(8e-5 * (0.2 + 0.9 + 0.5 + 0.1 + 0.3 + 0.4))
    # no difference across the border of two videos
    smooth = (0.9 - 0.2) ** 2 + (0.5 - 0.9) ** 2 + (0.3 - 0.1) ** 2 + (0.4 - 0.3) ** 2
    assert terms["smooth"].item() == pytest.approx(8e-5 * smooth)
    assert set(terms) == {"ranking", "sparse", "smooth"}


def test_a_pair_that_is_far_enough_apart_costs_nothing() -> None:
    logits = torch.tensor([[50.0, -50.0], [-120.0, -120.0]])
    terms = model_of().loss_terms(SultaniOutput(logits), torch.tensor([0]), LossConfig())
    assert terms["ranking"].item() == 0.0


def test_a_segment_is_the_normalised_mean_of_its_frames_and_only_the_first_layer_is_rectified() -> None:
    model = model_of().double()
    with torch.no_grad():
        for layer in (model.first, model.second, model.score):
            layer.weight.zero_()
            layer.bias.zero_()
        model.first.weight[0] = torch.tensor([1.0, 0.0])  # h0 = max(0, x0)
        model.first.weight[1] = torch.tensor([0.0, 1.0])  # h1 = max(0, x1)
        model.second.weight[0, :2] = torch.tensor([2.0, 5.0])
        model.second.bias[0] = -3.0
        model.score.weight[0, 0] = 1.5
        model.score.bias[0] = 0.25
    frames = torch.tensor([[[[6.0, -2.0], [0.0, -6.0]]]], dtype=torch.float64)  # mean (3, -4), length 5
    # x = (0.6, -0.8); h = (0.6, 0); second 2 * 0.6 - 3 = -1.8, not rectified; 1.5 * -1.8 + 0.25
    assert model(frames).anomaly_logits.item() == pytest.approx(1.5 * (2 * 0.6 - 3) + 0.25)


def test_every_class_has_its_share_of_the_score() -> None:
    model = model_of().eval()
    scores = model.score_video(torch.randn(600, 2))
    assert scores.scores.shape == (600,)
    torch.testing.assert_close(scores.probabilities[:, 0], scores.scores / 2)
    torch.testing.assert_close(scores.probabilities[:, 2], 1 - scores.scores)


def test_the_optimiser_is_adagrad_with_a_penalty_on_the_weights_alone() -> None:
    model = model_of()
    optimizer = model.optimizer(TrainingConfig())
    assert isinstance(optimizer, torch.optim.Adagrad)
    assert (optimizer.defaults["eps"], model.learning_rate(7, TrainingConfig())) == (1e-8, 0.01)
    weight, before = model.score.weight, model.score.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.score.bias.data.fill_(3.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    # the gradient of 1e-3 w^2 is 2e-3 w; Adagrad's first step is lr * g / (|g| + eps)
    gradient = 2e-3 * before
    torch.testing.assert_close(weight.detach(), before - 0.01 * gradient / (gradient.abs() + 1e-8))
    torch.testing.assert_close(optimizer.state[weight]["sum"], gradient**2, rtol=1e-4, atol=0)
    assert model.score.bias.item() == 3.0


def test_dropout_stands_after_the_first_and_the_second_layer() -> None:
    model, features, noise = model_of(8), torch.randn(2, 4, 3, 8), torch.tensor([1, 2])
    plain, dropped = model(features).anomaly_logits, model(features, noise).anomaly_logits
    assert not torch.equal(plain, dropped)
    with torch.no_grad():
        model.score.weight.fill_(1.0)
        model.second.weight.zero_()
        model.second.bias.fill_(1.0)  # what is left of 32 ones, each divided by 0.4
    found = (model(features, noise).anomaly_logits * 0.4).flatten().tolist()
    assert all(math.isclose(value, round(value), abs_tol=1e-4) for value in found)
    assert 0 < sum(found) / len(found) < 32 * 0.7
