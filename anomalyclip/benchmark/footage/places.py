"""Places that a fixed camera looks at: painted once per camera, with the ground on which people and cars move."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from anomalyclip.benchmark.drawing.canvas import (
    Canvas,
    Colour,
    Point,
    disc,
    ellipse,
    glow,
    gradient,
    line,
    mix,
    pick,
    polygon,
    rectangle,
    shade,
)  # fmt: skip
from anomalyclip.benchmark.drawing.vehicles import PAINT, vehicle

WALLS: tuple[Colour, ...] = ((150, 134, 118), (122, 126, 132), (168, 156, 140), (134, 112, 100), (108, 116, 112))
FLOORS: tuple[Colour, ...] = ((128, 126, 122), (146, 140, 130), (112, 116, 120), (136, 128, 118))
GOODS: tuple[Colour, ...] = (
    (170, 60, 52),
    (60, 104, 150),
    (196, 170, 70),
    (84, 134, 84),
    (190, 188, 180),
    (140, 88, 130),
)


Spot = tuple[float, float]
"""A place on the ground, (u, v)."""


class Ground(NamedTuple):
    """Positions of things: v = 0 is the far edge, v = 1 the near one, u runs from left (0) to right (1)."""

    width: int
    height: int
    far: float
    """Row of the far edge, a share of the picture's height; the near edge is at 0.97."""
    person_far: float
    """Height of a person at the far edge, a share of the picture's height."""
    person_near: float
    lanes: tuple[float, ...] = ()
    """Depths v at which cars drive; none indoors."""
    footway: tuple[float, float] = (0.0, 1.0)
    """Depths between which people walk."""

    def at(self, u: float, v: float) -> Point:
        """Return the pixel of a place on the ground."""
        x = 0.5 + (u - 0.5) * (0.75 + 0.25 * v)
        return self.width * x, self.height * (self.far + (0.97 - self.far) * v)

    def person(self, v: float) -> float:
        """Return the height in pixels of a person at depth v."""
        return self.height * (self.person_far + (self.person_near - self.person_far) * v)


class Place(NamedTuple):
    """A kind of place."""

    paint: Callable[[Canvas, np.random.Generator], Ground]
    nights: float
    """Share of its cameras that look at night."""
    indoors: bool = False


def _ground(
    canvas: Canvas, generator: np.random.Generator, far: float, lanes: tuple[float, ...] = (),
    footway: tuple[float, float] = (0.1, 0.95),
) -> Ground:  # fmt: skip
    height, width = canvas.shape[:2]
    near = float(generator.uniform(0.5, 0.64))
    return Ground(width, height, far, near * float(generator.uniform(0.62, 0.75)), near, lanes, footway)


def _sky(canvas: Canvas, generator: np.random.Generator, bottom: float) -> None:
    top = pick(generator, ((130, 160, 190), (168, 176, 182), (108, 142, 182), (186, 178, 166)))
    gradient(canvas, 0, bottom, top, mix(top, (222, 222, 216), 0.6))


def _facades(canvas: Canvas, generator: np.random.Generator, bottom: float) -> None:
    """Houses side by side with rows of windows."""
    width = canvas.shape[1]
    x = -float(generator.uniform(0, 30))
    while x < width:
        span, top = float(generator.uniform(30, 60)), bottom * float(generator.uniform(0.0, 0.45))
        wall = pick(generator, WALLS)
        rectangle(canvas, (x, top), (x + span, bottom), wall)
        pane = mix((70, 84, 100), wall, float(generator.uniform(0, 0.5)))
        step = float(generator.uniform(10, 15))
        for wy in np.arange(top + 4, bottom - 12, step):
            for wx in np.arange(x + 4, x + span - 6, step):
                rectangle(canvas, (wx, wy), (wx + 0.5 * step, wy + 0.62 * step), pane)
        rectangle(canvas, (x + 4, bottom - 13), (x + span - 4, bottom - 1), shade(wall, 0.6))
        x += span


def _tiles(canvas: Canvas, far: float, colour: Colour, rows: int = 7) -> None:
    """Lines of tiles or slabs that run together in the distance."""
    height, width = canvas.shape[:2]
    for share in np.linspace(0, 1, rows) ** 1.7:
        y = far + (height - far) * share
        line(canvas, [(0, y), (width, y)], colour)
    for x in np.linspace(-1.0, 2.0, 13):
        line(canvas, [(width * (0.5 + (x - 0.5) * 0.55), far), (width * x, height)], colour)


def _lamp_post(canvas: Canvas, generator: np.random.Generator, horizon: float) -> None:
    height, width = canvas.shape[:2]
    x = float(generator.uniform(0.1, 0.9)) * width
    line(canvas, [(x, horizon + 6), (x, 0.1 * height), (x + 10, 0.08 * height)], (70, 72, 76), 2)
    disc(canvas, (x + 11, 0.09 * height), 2, (250, 240, 200))


def street(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """Houses, a pavement, a road with two lanes."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.36, 0.44))
    _sky(canvas, generator, 0.3 * height)
    _facades(canvas, generator, far * height)
    pavement = pick(generator, FLOORS)
    rectangle(canvas, (0, far * height), (width, height), pavement)
    top, bottom = (far + (0.97 - far) * v for v in (0.2, 0.66))
    rectangle(canvas, (0, top * height), (width, bottom * height), (84, 86, 90))
    for y in (top, bottom):
        line(canvas, [(0, y * height), (width, y * height)], (178, 174, 166), 2)
    for x in np.arange(-10, width, 26):
        y = (0.55 * top + 0.45 * bottom) * height
        line(canvas, [(x, y), (x + 13, y)], (206, 204, 196), 1)
    _lamp_post(canvas, generator, far * height)
    return _ground(canvas, generator, far, lanes=(0.34, 0.56), footway=(0.1, 0.95))


def car_park(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """Asphalt with stalls, a row of parked cars at the back."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.38, 0.46))
    _sky(canvas, generator, 0.2 * height)
    rectangle(canvas, (0, 0.16 * height), (width, far * height), pick(generator, WALLS))
    asphalt = pick(generator, ((96, 98, 102), (110, 108, 106), (84, 88, 94)))
    gradient(canvas, far * height, height, shade(asphalt, 0.9), shade(asphalt, 1.1))
    stall = float(generator.uniform(34, 44))
    for x in np.arange(-stall, width + stall, stall):
        line(canvas, [(x, (far + 0.01) * height), (x - 6, (far + 0.13) * height)], (200, 200, 190), 1)
        if generator.uniform() < 0.7:
            vehicle(canvas, (x + 0.48 * stall, (far + 0.1) * height), 0.78 * stall, pick(generator, PAINT),
                    int(generator.choice((-1, 1))))  # fmt: skip
    for x in np.arange(0, width + stall, stall):
        line(canvas, [(x, 0.84 * height), (x - 14, height)], (196, 196, 186), 1)
    _lamp_post(canvas, generator, far * height)
    return _ground(canvas, generator, far, lanes=(0.5, 0.7), footway=(0.3, 0.95))


def shop(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """Shelves of goods at the back, a counter, a tiled floor."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.4, 0.48))
    wall = pick(generator, ((206, 200, 190), (186, 194, 196), (198, 186, 168)))
    rectangle(canvas, (0, 0), (width, far * height), wall)
    floor = pick(generator, ((170, 164, 152), (158, 160, 160), (178, 170, 158)))
    rectangle(canvas, (0, far * height), (width, height), floor)
    _tiles(canvas, far * height, shade(floor, 0.92))
    for y in np.arange(0.08 * height, (far - 0.04) * height, 12):
        x = 0.0
        while x < width:
            wide = float(generator.uniform(4, 11))
            rectangle(canvas, (x, y + 1.5), (x + wide - 1, y + 9), shade(pick(generator, GOODS), 0.9))
            x += wide
        rectangle(canvas, (0, y + 9), (width, y + 11), shade(wall, 0.6))
    x = float(generator.uniform(0.02, 0.6)) * width
    rectangle(canvas, (x, (far + 0.02) * height), (x + 46, (far + 0.17) * height), (120, 92, 66))
    rectangle(canvas, (x - 2, far * height), (x + 48, (far + 0.04) * height), (176, 156, 130))
    return _ground(canvas, generator, far, footway=(0.25, 0.95))


def corridor(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """Walls with doors that run together, lights on the ceiling."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.42, 0.5))
    middle = float(generator.uniform(0.4, 0.6)) * width
    wall, floor = pick(generator, ((188, 184, 172), (170, 178, 176), (182, 168, 150))), pick(generator, FLOORS)
    rectangle(canvas, (0, 0), (width, height), wall)
    left, right = middle - 0.2 * width, middle + 0.2 * width
    polygon(canvas, [(0, 0.92 * height), (left, far * height), (right, far * height), (width, 0.92 * height),
                     (width, height), (0, height)], floor)  # fmt: skip
    polygon(canvas, [(0, 0), (left, 0.1 * height), (right, 0.1 * height), (width, 0)], shade(wall, 1.12))
    rectangle(canvas, (left, 0.1 * height), (right, far * height), shade(wall, 0.85))
    rectangle(canvas, (middle - 9, 0.2 * height), (middle + 9, far * height), shade(wall, 0.6))
    door = pick(generator, ((112, 84, 62), (86, 98, 110), (120, 110, 96)))
    for share in (0.15, 0.55):
        for edge, inner in ((0.0, left), (float(width), right)):
            xs = [edge + (inner - edge) * s for s in (share, share + 0.2)]
            tops = [0.3 * height * (1 - s) * 0.8 + 0.22 * height * s for s in (share, share + 0.2)]
            feet = [0.92 * height + (far - 0.92) * height * s for s in (share, share + 0.2)]
            polygon(canvas, [(xs[0], tops[0]), (xs[1], tops[1]), (xs[1], feet[1]), (xs[0], feet[0])], door)
    for share in (0.02, 0.05, 0.085):
        glow(canvas, (middle, share * height), 16, (70, 70, 64), 0.9)
    return _ground(canvas, generator, far, footway=(0.3, 0.95))


def platform(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """A platform with a safety line, tracks or a train behind it, pillars."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.42, 0.48))
    rectangle(canvas, (0, 0), (width, far * height), pick(generator, ((104, 108, 112), (126, 120, 112))))
    if generator.uniform() < 0.6:
        paint = pick(generator, ((188, 190, 194), (60, 96, 140), (150, 52, 48)))
        rectangle(canvas, (0, 0.1 * height), (width, (far - 0.03) * height), paint)
        for x in np.arange(float(generator.uniform(-20, 0)), width, 24):
            rectangle(canvas, (x, 0.15 * height), (x + 15, 0.27 * height), (58, 66, 76))
    else:
        for y in (far - 0.1, far - 0.05):
            line(canvas, [(0, y * height), (width, y * height)], (66, 62, 60), 2)
    floor = pick(generator, FLOORS)
    gradient(canvas, far * height, height, shade(floor, 0.85), shade(floor, 1.08))
    rectangle(canvas, (0, (far + 0.03) * height), (width, (far + 0.06) * height), (206, 176, 54))
    for x in (generator.uniform(0.0, 0.3), generator.uniform(0.7, 1.0)):
        rectangle(canvas, (x * width - 3, 0), (x * width + 3, (far + 0.12) * height), (92, 94, 98))
    return _ground(canvas, generator, far, footway=(0.3, 0.95))


def square(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """A paved square with trees, houses far away and a fountain or a kiosk."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.34, 0.42))
    _sky(canvas, generator, 0.26 * height)
    _facades(canvas, generator, (far - 0.02) * height)
    paving = pick(generator, ((160, 150, 136), (142, 142, 140), (152, 140, 124)))
    rectangle(canvas, (0, (far - 0.02) * height), (width, height), paving)
    _tiles(canvas, far * height, shade(paving, 0.9), rows=9)
    for x in generator.uniform(0, 1, 3):
        top = (far - float(generator.uniform(0.12, 0.2))) * height
        line(canvas, [(x * width, (far + 0.03) * height), (x * width, top)], (84, 64, 48), 3)
        ellipse(canvas, (x * width, top), (11, 12), pick(generator, ((66, 96, 56), (84, 106, 60), (58, 84, 62))))
    x = float(generator.uniform(0.15, 0.85)) * width
    ellipse(canvas, (x, (far + 0.1) * height), (20, 6), (122, 120, 118))
    ellipse(canvas, (x, (far + 0.09) * height), (16, 4), (112, 142, 158))
    return _ground(canvas, generator, far, footway=(0.2, 0.95))


def entrance(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """The glass doors of a building, steps and planters."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.44, 0.52))
    wall = pick(generator, WALLS)
    rectangle(canvas, (0, 0), (width, far * height), wall)
    for y in np.arange(6, far * height, 9):
        line(canvas, [(0, y), (width, y)], shade(wall, 0.92))
    x = float(generator.uniform(0.25, 0.75)) * width
    rectangle(canvas, (x - 31, 0.1 * height), (x + 31, far * height), (66, 68, 72))
    for side in (-29, 1):
        rectangle(canvas, (x + side, 0.13 * height), (x + side + 28, far * height), (134, 160, 172))
        line(canvas, [(x + side + 5, 0.2 * height), (x + side + 20, 0.4 * height)], (176, 196, 204), 2)
    rectangle(canvas, (x - 38, 0.03 * height), (x + 38, 0.1 * height), shade(wall, 0.5))
    floor = pick(generator, FLOORS)
    gradient(canvas, far * height, height, shade(floor, 0.92), shade(floor, 1.06))
    rectangle(canvas, (x - 36, far * height), (x + 36, (far + 0.05) * height), (92, 78, 70))
    for planter in (x - 52, x + 52):
        ellipse(canvas, (planter, (far - 0.05) * height), (9, 9), (72, 104, 66))
        rectangle(canvas, (planter - 8, (far - 0.03) * height), (planter + 8, (far + 0.05) * height), (126, 104, 88))
    return _ground(canvas, generator, far, footway=(0.2, 0.95))


def night_road(canvas: Canvas, generator: np.random.Generator) -> Ground:
    """A country road with a guard rail, trees and few lamps."""
    height, width = canvas.shape[:2]
    far = float(generator.uniform(0.34, 0.42))
    _sky(canvas, generator, far * height)
    x = 0.0
    while x < width:
        tall = float(generator.uniform(10, 26))
        ellipse(canvas, (x, far * height), (11, tall), shade((66, 84, 62), float(generator.uniform(0.7, 1.1))))
        x += float(generator.uniform(8, 18))
    rectangle(canvas, (0, far * height), (width, height), (96, 102, 84))
    top, bottom = (far + (0.97 - far) * v for v in (0.12, 0.75))
    rectangle(canvas, (0, top * height), (width, bottom * height), (84, 84, 88))
    line(canvas, [(0, (top - 0.02) * height), (width, (top - 0.02) * height)], (168, 172, 176), 2)
    for dash in range(-8, width, 30):
        y = 0.5 * (top + bottom) * height
        line(canvas, [(dash, y), (dash + 16, y)], (214, 212, 200), 2)
    _lamp_post(canvas, generator, far * height)
    return _ground(canvas, generator, far, lanes=(0.3, 0.6), footway=(0.75, 0.97))


WITH_ROAD = ("street", "car park", "night road")
PLACES: dict[str, Place] = {
    "street": Place(street, nights=0.3),
    "car park": Place(car_park, nights=0.4),
    "shop": Place(shop, nights=0.1, indoors=True),
    "corridor": Place(corridor, nights=0.15, indoors=True),
    "platform": Place(platform, nights=0.3),
    "square": Place(square, nights=0.3),
    "entrance": Place(entrance, nights=0.4),
    "night road": Place(night_road, nights=1.0),
}
