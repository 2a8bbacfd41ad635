"""People: a jointed figure and its outfits."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, Point, disc, line, pick, polygon, shade

# lengths as shares of a standing person's height
HEAD, TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 0.075, 0.32, 0.17, 0.17, 0.25, 0.25

SKIN: tuple[Colour, ...] = ((241, 205, 177), (224, 172, 125), (172, 118, 80), (118, 78, 52))
CLOTHES: tuple[Colour, ...] = (
    (52, 60, 78), (96, 92, 88), (140, 38, 44), (44, 86, 140), (60, 106, 66), (176, 156, 120),
    (112, 76, 52), (200, 198, 192), (88, 62, 110), (190, 120, 44), (34, 34, 38), (70, 120, 130),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((30, 24, 20), (78, 52, 32), (150, 116, 64), (120, 120, 122))


class Pose(NamedTuple):
    """Angles in degrees from straight down, positive to the front: 90 points forward, 180 up.

    `lean` is that of the torso from upright, `tilt` turns the whole figure about its feet (90: lying on its
    back), `lift` raises it from the ground by a share of its height.
    """

    upper_arms: tuple[float, float] = (0, 0)
    forearms: tuple[float, float] = (8, 8)
    thighs: tuple[float, float] = (3, -3)
    shins: tuple[float, float] = (3, -3)
    lean: float = 0
    tilt: float = 0
    lift: float = 0


@dataclass(frozen=True)
class Outfit:
    """Colours and build of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    build: float = 1.0
    """Thickness of body and limbs."""
    outline: Colour | None = None
    """Ink round every part, as illustrations have it."""
    head: float = 1.0
    """Size of the head; illustrations have large ones."""


class Joints(NamedTuple):
    """Positions of a drawn person's hands and head, to place what they hold."""

    head: Point
    hands: tuple[Point, Point]


def outfit(generator: np.random.Generator) -> Outfit:
    """Draw a person's clothes."""
    return Outfit(
        pick(generator, SKIN), pick(generator, HAIR), pick(generator, CLOTHES), pick(generator, CLOTHES),
        float(generator.uniform(0.85, 1.2)),
    )  # fmt: skip


def person(
    canvas: Canvas, feet: Point, height: float, pose: Pose, look: Outfit, facing: int = 1
) -> Joints:  # fmt: skip
    """Draw a person of a height in pixels who stands at `feet` and looks to the right (1) or the left (-1)."""
    place = _Placement(feet, height, facing, pose)
    hips = np.array([0.0, max(_reach(pose.thighs[i], pose.shins[i]) for i in (0, 1)) + pose.lift])
    neck = hips + TORSO * _up(pose.lean)
    shoulders = hips + 0.9 * TORSO * _up(pose.lean)
    head = neck + (HEAD * look.head + 0.015) * _up(pose.lean * 0.6)
    limb = 0.072 * look.build * height
    legs = [(hips, THIGH, SHIN, pose.thighs[i], pose.shins[i]) for i in (0, 1)]
    arms = [(shoulders, UPPER_ARM, FOREARM, pose.upper_arms[i], pose.forearms[i]) for i in (0, 1)]
    hands: list[Point] = []
    dark_shirt, dark_trousers = shade(look.shirt, 0.72), shade(look.trousers, 0.75)
    # far limbs first, then the body, then the near ones
    _limb(canvas, place, legs[1], limb * 1.15, dark_trousers, shade(look.trousers, 0.5), look.outline)
    hands.append(_limb(canvas, place, arms[1], limb * 0.9, dark_shirt, look.skin, look.outline))
    _body(canvas, place, hips, shoulders, look)
    _limb(canvas, place, legs[0], limb * 1.15, look.trousers, shade(look.trousers, 0.6), look.outline)
    _head(canvas, place, head, HEAD * look.head * height, look)
    hands.append(_limb(canvas, place, arms[0], limb * 0.9, look.shirt, look.skin, look.outline))
    return Joints(place(head), (hands[1], hands[0]))


class _Placement:
    """From figure coordinates (front, up; shares of the height) to pixels."""

    def __init__(self, feet: Point, height: float, facing: int, pose: Pose) -> None:
        self.feet, self.height, self.facing = feet, height, facing
        self.cos, self.sin = float(np.cos(np.radians(pose.tilt))), float(np.sin(np.radians(pose.tilt)))

    def __call__(self, point: np.ndarray) -> Point:
        front, up = float(point[0]), float(point[1])
        front, up = front * self.cos - up * self.sin, front * self.sin + up * self.cos
        return self.feet[0] + self.facing * front * self.height, self.feet[1] - up * self.height


def _limb(
    canvas: Canvas, place: _Placement, limb: tuple[np.ndarray, float, float, float, float], width: float,
    colour: Colour, end: Colour, outline: Colour | None,
) -> Point:  # fmt: skip
    root, upper, lower, first, second = limb
    middle = root + upper * _down(first)
    tip = middle + lower * _down(second)
    points = [place(root), place(middle), place(tip)]
    if outline is not None:
        line(canvas, points, outline, width + max(2, 0.3 * width))
    line(canvas, points, colour, width)
    disc(canvas, points[2], 0.55 * width, end)
    return points[2]


def _body(canvas: Canvas, place: _Placement, hips: np.ndarray, shoulders: np.ndarray, look: Outfit) -> None:
    wide, narrow = np.array([0.085 * look.build, 0]), np.array([0.065 * look.build, 0])
    corners = [place(p) for p in (shoulders - wide, shoulders + wide, hips + narrow, hips - narrow)]
    if look.outline is not None:
        line(canvas, [*corners, corners[0]], look.outline, max(2, 0.05 * place.height))
    polygon(canvas, corners, look.shirt)
    line(canvas, [corners[0], corners[1]], look.shirt, 0.04 * place.height)


def _head(canvas: Canvas, place: _Placement, head: np.ndarray, radius: float, look: Outfit) -> None:
    centre = place(head)
    if look.outline is not None:
        disc(canvas, centre, radius + max(1, 0.12 * radius), look.outline)
    disc(canvas, centre, radius, look.hair)
    disc(canvas, place(head + np.array([0.02, -0.012])), 0.82 * radius, look.skin)


def _reach(thigh: float, shin: float) -> float:
    return float(THIGH * np.cos(np.radians(thigh)) + SHIN * np.cos(np.radians(shin)))


def _down(angle: float) -> np.ndarray:
    return np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle))])


def _up(lean: float) -> np.ndarray:
    return np.array([np.sin(np.radians(lean)), np.cos(np.radians(lean))])
