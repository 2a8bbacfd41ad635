"""Vehicles from the side, whole or wrecked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, Point, disc, glow, haze, line, polygon, shade

PAINT: tuple[Colour, ...] = (
    (172, 34, 40), (38, 72, 128), (196, 198, 202), (60, 62, 66), (222, 222, 216), (46, 98, 72), (150, 118, 70),
)  # fmt: skip
GLASS: Colour = (150, 184, 204)
TYRE: Colour = (24, 24, 26)

# (along, up) in lengths of the car
_BODY = [(-0.5, 0.06), (-0.5, 0.2), (-0.34, 0.23), (0.3, 0.23), (0.5, 0.17), (0.5, 0.06)]
_CABIN = [(-0.36, 0.22), (-0.25, 0.37), (0.1, 0.37), (0.25, 0.22)]
_WINDOWS = ([(-0.3, 0.235), (-0.23, 0.345), (-0.08, 0.345), (-0.08, 0.235)],
            [(-0.05, 0.235), (-0.05, 0.345), (0.08, 0.345), (0.19, 0.235)])  # fmt: skip
_VAN = [(-0.5, 0.06), (-0.5, 0.44), (0.26, 0.44), (0.4, 0.26), (0.5, 0.22), (0.5, 0.06)]
_VAN_WINDOWS = ([(0.1, 0.26), (0.1, 0.4), (0.24, 0.4), (0.34, 0.26)],)
_BUS = [(-0.5, 0.06), (-0.5, 0.42), (0.49, 0.42), (0.5, 0.06)]
_BUS_WINDOWS = tuple([(x, 0.24), (x, 0.37), (x + 0.13, 0.37), (x + 0.13, 0.24)] for x in np.arange(-0.46, 0.4, 0.155))
_SHAPES = {
    "car": ((_BODY, _CABIN), _WINDOWS, (-0.3, 0.3), 0.085),
    "van": ((_VAN,), _VAN_WINDOWS, (-0.3, 0.3), 0.085),
    "bus": ((_BUS,), _BUS_WINDOWS, (-0.32, 0.3), 0.06),
}
KINDS = tuple(_SHAPES)


def vehicle(
    canvas: Canvas, place: Point, length: float, paint: Colour, facing: int = 1, kind: str = "car",
    tilt: float = 0, dent: float = 0, outline: Colour | None = None, lights: float = 0,
) -> None:  # fmt: skip
    """Draw a vehicle of a length in pixels that stands with its wheels at `place` and looks to the right (1).

    `tilt` turns it in degrees about its middle, 180 puts it on its roof; `dent` (0 to 1) pushes its front in;
    `lights` is the strength of its headlights.
    """
    bodies, windows, wheels, wheel = _SHAPES[kind]
    put = _Put(place, length, facing, tilt, dent)
    for shape in bodies:
        if outline is not None:
            line(canvas, put([*shape, shape[0]]), outline, max(2, 0.035 * length))
        polygon(canvas, put(shape), paint)
    polygon(canvas, put([(-0.5, 0.06), (-0.5, 0.1), (0.5, 0.1), (0.5, 0.06)]), shade(paint, 0.6))
    for window in windows:
        polygon(canvas, put(window), shade(GLASS, 0.5) if dent else GLASS)
    for x in wheels:
        centre = put([(x, 0.08)])[0]
        disc(canvas, centre, wheel * length, TYRE)
        disc(canvas, centre, 0.45 * wheel * length, (140, 140, 144))
    if lights:
        _lights(canvas, put, length, lights)


def wreck_smoke(canvas: Canvas, place: Point, size: float, phase: float, opacity: float = 0.75) -> None:
    """Grey smoke that rises from a wreck; `phase` counts puffs."""
    for i in range(6):
        age = (phase + i / 6) % 1
        x = place[0] + size * (0.16 * np.sin(9.1 * i) + 0.25 * age)
        haze(canvas, (x, place[1] - size * (0.15 + 0.95 * age)), size * (0.2 + 0.4 * age), (126, 122, 118),
             opacity * (1 - age))  # fmt: skip


def debris(canvas: Canvas, place: Point, size: float, seed: int, colour: Colour, count: int = 14) -> None:
    """Broken pieces strewn round a place."""
    generator = np.random.default_rng(seed)
    for x, y, tilt, bit in generator.uniform((-1, -0.12, 0, 0.02), (1, 0.2, 3.1, 0.07), (count, 4)):
        centre = np.array([place[0] + size * x, place[1] + size * y])
        along = size * bit * np.array([np.cos(tilt), np.sin(tilt)])
        line(canvas, [centre - along, centre + along], colour if tilt < 1.6 else (210, 214, 216), max(1, 0.05 * size))


class _Put:
    """From lengths of the vehicle (along, up) to pixels."""

    def __init__(self, place: Point, length: float, facing: int, tilt: float, dent: float) -> None:
        self.place, self.length, self.facing, self.dent = place, length, facing, dent
        self.cos, self.sin = float(np.cos(np.radians(tilt))), float(np.sin(np.radians(tilt)))

    def __call__(self, points: Sequence[Point]) -> NDArray[np.float64]:
        along, up = np.array(points, np.float64).T
        crushed = np.clip((along - 0.18) / 0.32, 0, 1) * self.dent
        along, up = along - 0.2 * crushed, up + 0.1 * crushed * np.sin(40 * along)
        up = up - 0.2
        along, up = along * self.cos - up * self.sin, along * self.sin + up * self.cos
        up = up + 0.2
        return np.stack([self.place[0] + self.facing * along * self.length, self.place[1] - up * self.length], axis=1)


def _lights(canvas: Canvas, put: _Put, length: float, strength: float) -> None:
    front = put([(0.52, 0.15)])[0]
    back = put([(-0.5, 0.16)])[0]
    glow(canvas, (front[0], front[1]), 0.34 * length, (255, 246, 214), strength)
    glow(canvas, (front[0] + put.facing * 0.3 * length, front[1]), 0.5 * length, (150, 142, 110), 0.7 * strength)
    glow(canvas, (back[0], back[1]), 0.12 * length, (255, 30, 24), strength)
