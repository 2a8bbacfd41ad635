import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import ten_crop

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


COLOURS = {"top left": (255, 0, 0), "top right": (0, 255, 0), "bottom left": (0, 0, 255), "bottom right": (255, 255, 0)}


def preprocess(size: int = 56, mode: str = "squash") -> Preprocess:
    return Preprocess(size, (0.0,) * 3, (1.0,) * 3, mode)  # type: ignore[arg-type]


def cropped(crops: int, frames: np.ndarray, mode: str = "squash") -> list[np.ndarray]:
    """Grey levels (frames, height, width, 3) of each crop of pictures that need no resizing."""
    found = preprocess(mode=mode).crops(torch.from_numpy(frames), crops)
    return [(crop * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy() for crop in found]


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_five_crops_are_the_corners_and_the_centre_whatever_the_resize_mode(mode: str) -> None:
    picture = np.full((1, 64, 91, 3), 128, np.uint8)
    picture[:, 30:34, 43:48] = 255
    for rows, vertical in ((slice(0, 8), "top"), (slice(56, 64), "bottom")):
        for columns, horizontal in ((slice(0, 8), "left"), (slice(83, 91), "right")):
            picture[:, rows, columns] = COLOURS[f"{vertical} {horizontal}"]
    *corners, centre = cropped(5, picture, mode)
    for crop, (place, colour) in zip(corners, COLOURS.items(), strict=True):
        vertical, horizontal = place.split()
        row, column = 55 * (vertical == "bottom"), 55 * (horizontal == "right")
        assert crop.shape == (1, 56, 56, 3)
        assert tuple(crop[0, row, column]) == colour
        assert [tuple(other[0, row, column]) == colour for other in (*corners, centre)].count(True) == 1
    assert (centre[0, 26:30, 25:30] == 255).all() and (centre == 255).all(axis=-1).sum() == 20


def test_ten_crops_are_five_and_five_of_the_mirrored_picture_as_torchvision_has_them() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 91, 3), dtype=np.uint8)
    crops = cropped(10, frames)
    for found, expected in zip(crops, cropped(5, frames) + cropped(5, frames[:, :, ::-1].copy()), strict=True):
        assert np.array_equal(found, expected)
    theirs = ten_crop(torch.from_numpy(frames).permute(0, 3, 1, 2), [56, 56])
    for found, expected in zip(crops, theirs, strict=True):
        assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())


def test_several_crops_of_224_are_cut_from_a_picture_whose_shortest_side_is_256() -> None:
    frames = torch.from_numpy(pictures(256, 300, frames=1))
    first = next(iter(preprocess(224).crops(frames, 5)))
    assert torch.equal((first * 255).round(), frames.permute(0, 3, 1, 2)[..., :224, :224].float())


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_one_crop_is_the_picture_as_it_was_before_there_were_more(mode: str) -> None:
    frames = torch.from_numpy(pictures(120, 161))
    (only,) = preprocess(mode=mode).crops(frames, 1)
    assert torch.equal(only, preprocess(mode=mode)(frames))
