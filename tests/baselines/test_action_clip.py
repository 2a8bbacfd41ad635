"""The arithmetic of ActionCLIP's head, by numbers worked out here."""

import math

import pytest
import torch

from anomalyclip.baselines.action_clip import ActionCLIP, ActionCLIPOutput
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig

CLASSES = ("Arson", "Normal", "Fighting")
# texts of Arson, Fighting and Normal, of length 1 in two numbers
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)


def model_of(segments: int = 4, frames: int = 2) -> ActionCLIP:
    torch.manual_seed(0)
    config = ModelConfig(segments=segments, frames_per_segment=frames)
    return ActionCLIP(CLASSES, 1, torch.zeros(2), config, TEXTS.float(), torch.eye(2)).double()


def test_the_loss_is_the_divergence_from_equal_labels_in_both_directions() -> None:
    model = model_of()
    with torch.no_grad():
        model.text_projection.mul_(3.0)  # lengths do not matter
    # videos of class 0, and two normal ones; 100 cos would hide all but the largest: near directions
    angles = (0.92, 0.925, 0.93)
    embedded = torch.tensor([[5 * math.cos(a), 5 * math.sin(a)] for a in angles], dtype=torch.float64)
    terms = model.loss_terms(ActionCLIPOutput(embedded), torch.tensor([0]), LossConfig())
    own = [(1.0, 0.0), (0.6, 0.8), (0.6, 0.8)]
    logits = [[100 * (math.cos(a) * x + math.sin(a) * y) for x, y in own] for a in angles]
    same = [[1, 0, 0], [0, 1, 1], [0, 1, 1]]

    def divergence(rows: list[list[float]]) -> float:
        total = 0.0
        for row, equal in zip(rows, same, strict=True):
            weights = [math.exp(10 * one) for one in equal]
            target = [weight / sum(weights) for weight in weights]
            normaliser = math.log(sum(math.exp(value) for value in row))
            total += sum(t * (math.log(t) - (value - normaliser)) for t, value in zip(target, row, strict=True))
        return total / 3

    transposed = [list(column) for column in zip(*logits, strict=True)]
    assert terms["video_to_text"].item() == pytest.approx(divergence(logits) / 2)
    assert terms["text_to_video"].item() == pytest.approx(divergence(transposed) / 2)


def test_the_noise_draws_a_segment_and_without_it_the_middle_one_is_taken() -> None:
    model, features = model_of(), torch.randn(3, 4, 2, 2, dtype=torch.float64)
    found = model(features, torch.tensor([5, 2, 7])).embedded
    torch.testing.assert_close(found, model.embed(torch.stack([features[0, 1], features[1, 2], features[2, 3]])))
    torch.testing.assert_close(model(features).embedded, model.embed(features[:, 2]))


def test_a_segment_is_the_mean_of_its_frames_and_what_the_transformer_makes_of_them() -> None:
    model, frames = model_of(), torch.randn(1, 2, 2, dtype=torch.float64)
    expected = (frames + model.blocks(frames + model.positions)).mean(dim=1)
    torch.testing.assert_close(model.embed(frames), expected)
    assert (len(model.blocks), model.positions.shape) == (6, (2, 2))


def test_probabilities_are_the_softmax_over_all_classes_with_normal_among_them() -> None:
    model = model_of().eval()
    features = torch.randn(8, 2)  # one window of four segments with two frames
    found = model.float().score_video(features)
    embedded = model.embed(features.reshape(4, 2, 2))
    for segment, vector in enumerate(embedded.tolist()):
        length = math.hypot(*vector)
        weights = [math.exp(100 * (vector[0] * x + vector[1] * y) / length - 100) for x, y in TEXTS.tolist()]
        arson, fighting, normal = (weight / sum(weights) for weight in weights)
        for frame in (2 * segment, 2 * segment + 1):
            assert found.probabilities[frame].tolist() == pytest.approx([arson, normal, fighting], abs=1e-4)
            assert found.scores[frame].item() == pytest.approx(1 - normal, abs=1e-4)


def test_the_optimiser_is_adamw_with_clips_moments_on_the_configured_schedule() -> None:
    model, training = model_of(), TrainingConfig(epochs=10, warmup_epochs=2, learning_rate=1.0)
    (group,) = model.optimizer(training).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-8, 0.2)
    rates = [model.learning_rate(epoch, training) for epoch in (0, 1, 2, 6)]
    assert rates == pytest.approx([0, 2.5e-5, 5e-5, 2.5e-5])
    assert model.text_projection.requires_grad and "text_hidden" not in dict(model.named_parameters())
