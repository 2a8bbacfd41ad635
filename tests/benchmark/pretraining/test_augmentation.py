from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from anomalyclip.benchmark.pretraining.augmentation import augment
from anomalyclip.benchmark.pretraining.settings import AugmentationSettings


@pytest.fixture
def images() -> Tensor:
    return torch.rand(40, 3, 24, 32, generator=seeded(1))


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def only(unvaried: AugmentationSettings, **settings: Any) -> AugmentationSettings:
    return unvaried.model_copy(update=settings)


def test_without_variation_pictures_stay_as_they_are(images: Tensor, unvaried: AugmentationSettings) -> None:
    torch.testing.assert_close(augment(images, unvaried, seeded()), images, atol=1e-5, rtol=0)


def test_variations_come_from_the_generator_alone_and_keep_shape_and_range(images: Tensor) -> None:
    settings = AugmentationSettings(blur=0.5, coarse=0.5, noise=0.5)
    first, again, other = (augment(images, settings, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_pictures_are_varied_each_on_its_own() -> None:
    same = torch.rand(1, 3, 24, 24, generator=seeded()).expand(20, -1, -1, -1)
    varied = augment(same, AugmentationSettings(), seeded())
    assert len(torch.unique(varied.flatten(1), dim=0)) == 20


def test_the_flipped_share_is_mirrored_left_to_right(images: Tensor, unvaried: AugmentationSettings) -> None:
    torch.testing.assert_close(augment(images, only(unvaried, flip=1.0), seeded()), images.flip(3), atol=1e-5, rtol=0)


def test_a_zoom_above_one_shrinks_the_picture(unvaried: AugmentationSettings) -> None:
    image = torch.zeros(4, 3, 32, 32)
    image[:, :, 8:24, 8:24] = 1
    shrunk = augment(image, only(unvaried, zoom=(2.0, 2.0)), seeded())
    torch.testing.assert_close(shrunk.sum(dim=(1, 2, 3)), image.sum(dim=(1, 2, 3)) / 4, atol=30, rtol=0)


def test_a_window_below_one_stays_within_the_picture(unvaried: AugmentationSettings) -> None:
    ramp = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    window = augment(ramp, only(unvaried, zoom=(0.5, 0.5)), seeded())
    left, right = window[:, 0, 0, 0], window[:, 0, 0, -1]
    torch.testing.assert_close(right - left, torch.full((200,), 0.5), atol=0.02, rtol=0)
    assert left.min() < 0.05
    assert right.max() > 0.95


def test_the_grey_share_loses_its_colours_and_keeps_its_lightness(
    images: Tensor, unvaried: AugmentationSettings
) -> None:
    grey = augment(images, only(unvaried, grey=1.0), seeded())
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey, luma.expand_as(grey), atol=1e-5, rtol=0)


def test_contrast_turns_round_the_mean_grey_of_the_picture(unvaried: AugmentationSettings) -> None:
    images = 0.4 + 0.2 * torch.rand(50, 1, 16, 16, generator=seeded()).expand(-1, 3, -1, -1)
    varied = augment(images, only(unvaried, contrast=0.5), seeded())
    torch.testing.assert_close(varied.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)), atol=1e-4, rtol=0)
    assert (varied.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))).std() > 0.1


@pytest.mark.parametrize("name", ["blur", "coarse", "noise"])
def test_blur_coarseness_and_noise_touch_their_share_only(
    name: str, images: Tensor, unvaried: AugmentationSettings
) -> None:
    plain = augment(images, unvaried, seeded())
    varied = augment(images, only(unvaried, **{name: 0.5, "coarsest": 0.3, "noise_std": 0.2}), seeded())
    touched = (varied != plain).flatten(1).any(dim=1)
    assert 8 <= int(touched.sum()) <= 32
    detail = (varied - varied.mean(dim=(2, 3), keepdim=True))[touched].abs().mean()
    before = (plain - plain.mean(dim=(2, 3), keepdim=True))[touched].abs().mean()
    assert (detail > before) if name == "noise" else (detail < before)


def test_blur_mixes_a_pixel_with_all_its_neighbours_alike(unvaried: AugmentationSettings) -> None:
    point = torch.zeros(8, 3, 9, 9)
    point[:, :, 4, 4] = 1
    blurred = augment(point, only(unvaried, blur=1.0), seeded())
    around = blurred[:, :, 3:6, 3:6]
    torch.testing.assert_close(around.sum(dim=(2, 3)), torch.ones(8, 3))
    torch.testing.assert_close(around, around.flip(2))
    torch.testing.assert_close(around, around.flip(3))
    torch.testing.assert_close(around, around.transpose(2, 3))
    assert (around[:, :, 1, 1] >= around[:, :, 1, 0]).all()
