"""Anti-aliased shapes on a picture, with sub-pixel positions, drawn by OpenCV.

A canvas is a uint8 RGB array `(height, width, 3)`; points are (x, y) in pixels, y downwards; colours are RGB.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]

SHIFT = 4
"""Fractional bits of OpenCV's fixed-point coordinates."""

_SOFT = np.exp(-4 * (np.add.outer(np.linspace(-1, 1, 65) ** 2, np.linspace(-1, 1, 65) ** 2))).astype(np.float32)
_SOFT[_SOFT[0, 32] > _SOFT] = 0

cv2.setNumThreads(1)  # pictures are small, and many processes draw at once


def polygon(canvas: Canvas, points: ArrayLike, colour: Colour) -> None:
    """Fill a polygon `(corners, 2)`."""
    cv2.fillPoly(canvas, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)


def line(canvas: Canvas, points: ArrayLike, colour: Colour, width: float = 1) -> None:
    """Draw a line of round joints through `(points, 2)`."""
    cv2.polylines(canvas, [_fixed(points)], False, colour, max(1, round(width)), cv2.LINE_AA, SHIFT)


def rectangle(canvas: Canvas, corner: Point, opposite: Point, colour: Colour) -> None:
    """Fill an upright rectangle."""
    (left, top), (right, bottom) = corner, opposite
    polygon(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def disc(canvas: Canvas, centre: Point, radius: float, colour: Colour) -> None:
    """Fill a circle."""
    cv2.circle(canvas, *_centred(centre), max(1, round(radius * 2**SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)


def ellipse(canvas: Canvas, centre: Point, radii: Point, colour: Colour, angle: float = 0) -> None:
    """Fill an ellipse, turned by an angle in degrees."""
    axes = (max(1, round(radii[0] * 2**SHIFT)), max(1, round(radii[1] * 2**SHIFT)))
    cv2.ellipse(canvas, *_centred(centre), axes, angle, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)


def gradient(canvas: Canvas, top: float, bottom: float, first: Colour, last: Colour) -> None:
    """Fill the rows from `top` to `bottom` with a vertical gradient."""
    start, end = max(0, round(top)), min(len(canvas), round(bottom))
    if end > start:
        share = np.linspace(0, 1, end - start, dtype=np.float32)[:, None]
        rows = np.array(first, np.float32) * (1 - share) + np.array(last, np.float32) * share
        canvas[start:end] = rows.astype(np.uint8)[:, None]


def haze(canvas: Canvas, centre: Point, radius: float, colour: Colour, opacity: float) -> None:
    """Blend a soft-edged disc over the picture: smoke, dust, shadow."""
    found = _soft_patch(canvas, centre, radius)
    if found is not None:
        part, mask = found
        mask = (mask * opacity)[..., None]
        part[:] = (part * (1 - mask) + np.array(colour, np.float32) * mask).astype(np.uint8)


def glow(canvas: Canvas, centre: Point, radius: float, colour: Colour, strength: float = 1) -> None:
    """Add a soft-edged light to the picture: lamps, flames, flashes."""
    found = _soft_patch(canvas, centre, radius)
    if found is not None:
        part, mask = found
        light = (mask * strength)[..., None] * np.array(colour, np.float32)
        part[:] = np.minimum(part + light, 255).astype(np.uint8)


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; `share` is that of the second."""
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pick(generator: np.random.Generator, choices: Sequence[Colour]) -> Colour:
    """Draw one of a palette's colours."""
    return choices[int(generator.integers(len(choices)))]


def _soft_patch(canvas: Canvas, centre: Point, radius: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """The part of the canvas under a soft disc and the disc's mask there; None if they do not overlap."""
    size = max(2, round(2 * radius))
    left, top = round(centre[0] - size / 2), round(centre[1] - size / 2)
    right, bottom = min(left + size, canvas.shape[1]), min(top + size, canvas.shape[0])
    x, y = max(left, 0), max(top, 0)
    if right <= x or bottom <= y:
        return None
    mask = cv2.resize(_SOFT, (size, size), interpolation=cv2.INTER_LINEAR)
    return canvas[y:bottom, x:right], mask[y - top : bottom - top, x - left : right - left]


def _fixed(points: ArrayLike) -> NDArray[np.int32]:
    return np.round(np.asarray(points, dtype=np.float64) * 2**SHIFT).astype(np.int32)


def _centred(centre: Point) -> tuple[tuple[int, int]]:
    return ((round(centre[0] * 2**SHIFT), round(centre[1] * 2**SHIFT)),)
