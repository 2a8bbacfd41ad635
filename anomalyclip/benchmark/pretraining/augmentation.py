"""Random variations of a whole batch of pictures at a time."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor

from anomalyclip.benchmark.pretraining.settings import AugmentationSettings

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey level."""


def augment(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Return `(pictures, 3, height, width)`, values in [0, 1], each picture varied on its own."""
    moved = _move(images, settings, generator)
    coloured = _recolour(moved, settings, generator).clamp_(0, 1)
    for share, change in ((settings.blur, _blur), (settings.coarse, _coarsen), (settings.noise, _add_noise)):
        chosen = (torch.rand(len(images), generator=generator) < share).nonzero().squeeze(1)
        if len(chosen):
            coloured[chosen] = change(coloured[chosen], settings, generator)
    return coloured


def _move(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Show a random window of each picture; outside the picture, its edge is repeated."""
    low, high = (math.log(side) for side in settings.zoom)
    stretch = (_symmetric((len(images),), generator) * math.log(settings.stretch) / 2).exp()
    side = (low + (high - low) * torch.rand(len(images), generator=generator)).exp()
    width, height = side * stretch, side / stretch
    flip = 1 - 2 * (torch.rand(len(images), generator=generator) < settings.flip).float()
    angle = _symmetric((len(images),), generator) * math.radians(settings.turn)
    cos, sin = angle.cos(), angle.sin()
    right, down = (_symmetric((len(images),), generator) * (1 - length).abs() for length in (width, height))
    rows = (width * cos * flip, -height * sin, right, width * sin * flip, height * cos, down)
    windows = rearrange(torch.stack(rows), "(row column) pictures -> pictures row column", row=2)
    grid = F.affine_grid(windows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _recolour(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Change saturation, tint, contrast and brightness by one affine map of each picture's colours."""
    count = len(images)
    luma = torch.tensor(LUMA)
    saturation = 1 + settings.saturation * _symmetric((count, 1, 1), generator)
    saturation[torch.rand(count, generator=generator) < settings.grey] = 0
    gain = (1 + settings.tint * _symmetric((count, 3, 1), generator)) * (
        1 + settings.contrast * _symmetric((count, 1, 1), generator)
    )
    colours = gain * (saturation * torch.eye(3) + (1 - saturation) * luma)
    grey = images.mean(dim=(2, 3)) @ luma
    shift = (1 - gain) * grey[:, None, None] + settings.brightness * _symmetric((count, 1, 1), generator)
    pixels = rearrange(images, "pictures channels height width -> pictures channels (height width)")
    return torch.baddbmm(shift, colours, pixels).view_as(images)


def _blur(images: Tensor, _: AugmentationSettings, generator: Generator) -> Tensor:
    """Mix each pixel with its neighbours, along both axes; at most to their mean."""
    side = torch.rand((len(images), 1, 1, 1), generator=generator) / 3
    for axis, padding in ((3, (1, 1, 0, 0)), (2, (0, 0, 1, 1))):
        padded = F.pad(images, padding, mode="replicate")
        size = images.shape[axis]
        neighbours = padded.narrow(axis, 0, size) + padded.narrow(axis, 2, size)
        images = (1 - 2 * side) * images + side * neighbours
    return images


def _coarsen(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Reduce pictures, all to one random size, and enlarge them again."""
    height, width = images.shape[-2:]
    part = settings.coarsest + (1 - settings.coarsest) * float(torch.rand((), generator=generator))
    size = (max(1, round(height * part)), max(1, round(width * part)))
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(small, (height, width), mode="bilinear")


def _add_noise(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    std = settings.noise_std * torch.rand((len(images), 1, 1, 1), generator=generator)
    return (images + std * torch.randn(images.shape, generator=generator)).clamp_(0, 1)


def _symmetric(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw uniformly between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator) - 1
