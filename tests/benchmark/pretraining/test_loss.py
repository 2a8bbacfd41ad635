import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyclip.benchmark.pretraining.loss import contrastive_loss

SCALE = torch.tensor(5.0)
CONCEPTS = torch.tensor([0, 1, 0, 2, 1, 0])


def features(seed: int, count: int = 6) -> Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def reference(images: Tensor, texts: Tensor, concepts: list[int], one_to_one: float) -> float:
    def direction(queries: list[list[float]], keys: list[list[float]]) -> float:
        total = 0.0
        for i, query in enumerate(queries):
            logits = [float(SCALE) * sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
            log_sum = math.log(sum(math.exp(logit) for logit in logits))
            positives = [j for j, concept in enumerate(concepts) if concept == concepts[i]]
            shared = sum(log_sum - logits[j] for j in positives) / len(positives)
            total += (1 - one_to_one) * shared + one_to_one * (log_sum - logits[i])
        return total / len(queries)

    return (direction(images.tolist(), texts.tolist()) + direction(texts.tolist(), images.tolist())) / 2


@pytest.mark.parametrize("one_to_one", [0.0, 0.3, 1.0])
def test_the_loss_is_the_mean_over_both_directions_and_all_captions_of_a_concept(one_to_one: float) -> None:
    images, texts = features(0), features(1)
    loss = contrastive_loss(images, texts, CONCEPTS, SCALE, one_to_one)
    assert float(loss) == pytest.approx(reference(images, texts, CONCEPTS.tolist(), one_to_one), rel=1e-5)


def test_one_to_one_is_the_loss_of_clip_whatever_the_concepts() -> None:
    images, texts = features(0), features(1)
    logits, own = SCALE * images @ texts.T, torch.arange(6)
    clip = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, torch.zeros(6), SCALE, 1.0), clip)


def test_the_gradient_draws_a_picture_to_all_captions_of_its_concept_and_from_the_others() -> None:
    texts = torch.eye(4)
    images = torch.full((4, 4), 0.5, requires_grad=True)
    contrastive_loss(images, texts, torch.tensor([0, 0, 1, 2]), SCALE).backward()
    assert images.grad is not None
    pull = -images.grad[0]
    assert pull[0] > 0
    assert pull[1] == pytest.approx(float(pull[0]), rel=1e-5)
    assert (pull[2:] < 0).all()
