from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anomalyclip.benchmark.pictures.pool import PicturePool
from anomalyclip.benchmark.pretraining.accuracy import PROMPTS, ZeroShotAccuracy, concept_features, zero_shot_accuracy
from anomalyclip.features.preprocess import Preprocess

NAMES = ("cat", "dog", "road accidents")
PREPROCESS = Preprocess(8, (0.0,) * 3, (1.0,) * 3, "squash")


class Oracle(nn.Module):
    """A CLIP whose features are the brightness of a picture and the names in a text."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Brightness()

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.eye(3)[tokens[:, 0]]


class Brightness(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.eye(3)[(images.mean(dim=(1, 2, 3)) * 255 / 80).round().long()]


def tokenizer(texts: Sequence[str]) -> Tensor:
    return torch.tensor([[next(number for number, name in enumerate(NAMES) if name in text)] for text in texts])


@pytest.fixture
def measured() -> ZeroShotAccuracy:
    shown = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    looks_like = [0, 0, 0, 1, 2, 2, 2, 2, 2, 2]
    pixels = np.stack([np.full((8, 8, 3), 80 * level, np.uint8) for level in looks_like])
    pool = PicturePool(pixels, [[]] * 10, [NAMES[concept] for concept in shown])
    return zero_shot_accuracy(Oracle(), tokenizer, PREPROCESS, pool)


def test_accuracy_counts_pictures_whose_own_name_fits_best(measured: ZeroShotAccuracy) -> None:
    assert measured.top1 == pytest.approx(7 / 10)
    assert measured.mean_top1 == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert {name: row.pictures for name, row in measured.concepts.items()} == {"cat": 4, "dog": 2, "road accidents": 4}


def test_concepts_are_listed_worst_first_with_what_they_are_taken_for(measured: ZeroShotAccuracy) -> None:
    rows = [(name, row.accuracy, row.mistaken_for) for name, row in measured.concepts.items()]
    assert rows == [("dog", 0, "road accidents"), ("cat", 0.75, "dog"), ("road accidents", 1, None)]
    assert "| dog | 2 | 0.00 | road accidents |" in measured.as_markdown().splitlines()


def test_a_name_is_the_mean_of_its_prompts() -> None:
    model = Oracle()
    features = concept_features(model, tokenizer, ["dog", "cat"])
    torch.testing.assert_close(features, torch.eye(3)[[1, 0]])
    assert all("{}" in prompt for prompt in PROMPTS)


def test_measuring_leaves_a_model_in_training_as_it_was() -> None:
    model = Oracle().train()
    pool = PicturePool(np.zeros((1, 8, 8, 3), np.uint8), [[]], ["cat"])
    zero_shot_accuracy(model, tokenizer, PREPROCESS, pool)
    assert model.training
    assert model.visual.training
