"""Preprocessing: native video frames to the input of a CLIP image tower."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from anomalyclip.errors import UsageError

PREPROCESS_VERSION = 1
"""Raise it whenever the same frames would give other numbers: it is part of a feature's fingerprint."""

ROTATION_VERSION = 1
"""Raise it whenever rotated videos alone would give other frames: it is part of the hash of their content."""

CROPPED_FROM = 8 / 7
"""Shortest side of the picture that several crops are cut from, in sides of a crop: 256 for 224, as usual."""


@dataclass(frozen=True)
class Preprocess:
    """Antialiased resizing to a square and normalisation, equal to open_clip's own within two grey levels."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_mode: Literal["shortest", "squash"]
    """shortest: resize the shortest side and crop the centre; squash: resize both, whatever the shape."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    @classmethod
    def from_open_clip(cls, settings: Mapping[str, Any]) -> "Preprocess":
        """Read open_clip's `model.visual.preprocess_cfg`; raises UsageError for what is not supported."""
        size = settings["size"]
        height, width = (size, size) if isinstance(size, int) else size
        if height != width:
            raise UsageError(f"images of {height} x {width} pixels are not supported, only square ones")
        mode, interpolation = settings["resize_mode"], settings["interpolation"]
        if mode not in ("shortest", "squash") or interpolation not in ("bicubic", "bilinear"):
            raise UsageError(f"preprocessing by {interpolation} `{mode}` resizing is not supported")
        mean, std = tuple(settings["mean"]), tuple(settings["std"])
        return cls(int(height), mean, std, mode, interpolation)

    def __call__(self, frames: Tensor) -> Tensor:
        """Turn RGB frames (frames, height, width, 3), uint8, into (frames, 3, size, size), float32.

        The numbers are whole grey levels before they are normalised, on every device.
        """
        images = rearrange(frames, "frames height width channels -> frames channels height width")
        squash = self.resize_mode == "squash"
        size = (self.size, self.size) if squash else _shortest_side(images, self.size)
        return self.normalise(_crop_centre(self._resize(images, size), self.size) / 255)

    def crops(self, frames: Tensor, count: int) -> Iterator[Tensor]:
        """Yield each crop of RGB frames (frames, height, width, 3), uint8, in the form of `__call__`.

        One crop is that of `__call__`. 5 are the corners (top left, top right, bottom left, bottom right) and the
        centre of the picture, resized so that its shortest side is 8/7 of a crop's, in both resize modes. 10 are these
        and the same five of the mirrored picture. The order is that of torchvision's TenCrop.
        """
        if count == 1:
            yield self(frames)
            return
        images = rearrange(frames, "frames height width channels -> frames channels height width")
        resized = self._resize(images, _shortest_side(images, round(self.size * CROPPED_FROM)))
        for mirrored in (False, True)[: count // 5]:
            for crop in _five_crops(resized.flip(-1) if mirrored else resized, self.size):
                yield self.normalise(crop / 255)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (frames, 3, height, width), values in [0, 1], as the image tower needs them."""
        mean, std = _constants(self.mean, self.std, images.device)
        return (images - mean) / std

    def _resize(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        resize = resize_in_float if images.is_cuda else resize_in_uint8
        return resize(images, size, self.interpolation)


@cache
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Tensor:
    """Mean and deviation (2, 3, 1, 1), on the device once: each upload of numbers would wait for a GPU."""
    with torch.inference_mode(False):  # training uses them too
        return torch.tensor([mean, std], device=device)[..., None, None]


def resize_in_uint8(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize (frames, 3, height, width), uint8, with fixed-point arithmetic: the fastest on CPUs."""
    return F.interpolate(images, size, mode=interpolation, antialias=True)


def resize_in_float(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize like `resize_in_uint8` on devices without such a kernel; the result holds whole grey levels.

    Bicubic overshoots at edges; 8-bit arithmetic clips that after each direction, and so does this.
    """
    resized = images.float()
    for part in ((images.shape[-2], size[1]), size):
        resized = F.interpolate(resized, part, mode=interpolation, antialias=True).round_().clamp_(0, 255)
    return resized


def _shortest_side(images: Tensor, length: int) -> tuple[int, int]:
    """Return the height and width of images after resizing their shortest side to a length."""
    height, width = images.shape[-2:]
    shortest = min(height, width)
    return length * height // shortest, length * width // shortest


def _five_crops(images: Tensor, size: int) -> Iterator[Tensor]:
    for rows in (slice(None, size), slice(-size, None)):
        for columns in (slice(None, size), slice(-size, None)):
            yield images[..., rows, columns]
    yield _crop_centre(images, size)


def _crop_centre(images: Tensor, size: int) -> Tensor:
    top, left = (round((length - size) / 2) for length in images.shape[-2:])
    return images[..., top : top + size, left : left + size]
