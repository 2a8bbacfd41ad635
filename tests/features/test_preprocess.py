import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from anomalyclip.errors import UsageError
from anomalyclip.features.preprocess import Preprocess, resize_in_float, resize_in_uint8

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def pictures(height: int, width: int, frames: int = 2) -> np.ndarray:
    """Smooth colours with noise and hard edges: what resizing finds easy and hard."""
    draw = np.random.default_rng(height * width)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 255 / height, columns * 255 / width, 128 + 100 * np.sin(rows / 9)], axis=-1)
    noisy = smooth + draw.normal(0, 20, (frames, height, width, 3))
    noisy[:, height // 3 : height // 2, width // 4 : width // 2] = 255
    return noisy.clip(0, 255).astype(np.uint8)


def grey_levels(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(240, 320, 64), (240, 320, 224), (321, 239, 65), (33, 479, 32), (64, 64, 64), (50, 41, 96)],
)
def test_equals_open_clips_transform_within_two_grey_levels(
    mode: str, interpolation: str, height: int, width: int, size: int
) -> None:
    frames = pictures(height, width)
    theirs = open_clip.image_transform(
        size, is_train=False, mean=MEAN, std=STD, resize_mode=mode, interpolation=interpolation
    )
    expected = torch.stack([theirs(Image.fromarray(frame)) for frame in frames])
    settings = {"size": size, "mean": MEAN, "std": STD, "resize_mode": mode, "interpolation": interpolation}
    got = Preprocess.from_open_clip(settings)(torch.from_numpy(frames))
    assert got.shape == (2, 3, size, size) and got.dtype == torch.float32
    difference = (grey_levels(got) - grey_levels(expected)).abs()
    assert difference.max() < 2.01
    assert difference.mean() < 0.25


@pytest.mark.parametrize("size", [(64, 64), (224, 298), (37, 51)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_float_resizing_equals_uint8_resizing_within_one_grey_level(size: tuple[int, int], interpolation: str) -> None:
    images = torch.from_numpy(pictures(120, 161)).permute(0, 3, 1, 2)
    fast, exact = resize_in_uint8(images, size, interpolation), resize_in_float(images, size, interpolation)
    assert fast.dtype == torch.uint8 and exact.dtype == torch.float32
    assert torch.equal(exact, exact.round()) and exact.min() >= 0 and exact.max() <= 255
    difference = (fast.float() - exact).abs()
    enlarged = size[0] > images.shape[-2]  # may add up the rounding of both directions, in single pixels
    assert difference.max() <= (2 if enlarged else 1)
    assert difference.mean() < 0.05


@pytest.mark.parametrize("change", [{"size": (224, 196)}, {"resize_mode": "longest"}])
def test_unsupported_preprocessing_is_refused(change: dict[str, object]) -> None:
    settings = {"size": 64, "mean": MEAN, "std": STD, "resize_mode": "squash", "interpolation": "bicubic"}
    with pytest.raises(UsageError, match="not supported"):
        Preprocess.from_open_clip({**settings, **change})
