"""Subjects of the illustrations that `clip-tiny` learns from: people, pairs, vehicles, fires, animals, things.

A subject is drawn on the ground at `(x, y)`, `size` pixels high or so, with its choices from a generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.drawing import effects, poses
from anomalyclip.drawing.canvas import Canvas, Colour, disc, ellipse, glow, line, pick, polygon, rectangle, shade
from anomalyclip.drawing.people import Joints, Outfit, Pose, person
from anomalyclip.drawing.vehicles import debris, vehicle, wreck_smoke

INK: Colour = (38, 32, 40)
BRIGHT: tuple[Colour, ...] = (
    (236, 72, 72), (66, 140, 236), (250, 190, 50), (84, 188, 104), (168, 96, 214), (244, 132, 60), (60, 190, 196),
    (240, 120, 170), (250, 246, 236), (70, 76, 96), (158, 110, 72),
)  # fmt: skip
CARTOON_SKIN: tuple[Colour, ...] = ((255, 214, 178), (238, 180, 132), (186, 126, 84), (124, 84, 58))
CARTOON_HAIR: tuple[Colour, ...] = ((44, 34, 30), (120, 72, 36), (236, 190, 90), (190, 84, 40), (170, 170, 176))

Paint = Callable[["Sheet", float, float, float], None]
"""Sheet, x, y, size."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """What an illustrator works with: the paper, the chance, and the ink of outlines."""

    canvas: Canvas
    generator: np.random.Generator
    ink: Colour | None

    def uniform(self, low: float, high: float) -> float:
        return float(self.generator.uniform(low, high))

    def side(self) -> int:
        return int(self.generator.choice((-1, 1)))

    def colour(self) -> Colour:
        return pick(self.generator, BRIGHT)

    def shape(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon and ink its outline."""
        polygon(self.canvas, points, colour)
        if self.ink is not None:
            line(self.canvas, [*points, points[0]], self.ink, 2)

    def round(self, x: float, y: float, across: float, up: float, colour: Colour, angle: float = 0) -> None:
        """Fill an ellipse and ink its outline."""
        if self.ink is not None:
            ellipse(self.canvas, (x, y), (across + 1.5, up + 1.5), self.ink, angle)
        ellipse(self.canvas, (x, y), (across, up), colour, angle)

    def box(self, x: float, y: float, wide: float, tall: float, colour: Colour) -> None:
        """Fill a rectangle that stands on (x, y), and ink its outline."""
        self.shape([(x - wide / 2, y), (x - wide / 2, y - tall), (x + wide / 2, y - tall), (x + wide / 2, y)], colour)

    def person(
        self, x: float, y: float, size: float, pose: Callable[[float], Pose], facing: int, look: Outfit | None = None
    ) -> Joints:
        """Draw somebody in a moment of what the pose does."""
        return person(self.canvas, (x, y), size, pose(self.uniform(0, 1)), look or self.outfit(), facing)

    def outfit(self) -> Outfit:
        return Outfit(
            pick(self.generator, CARTOON_SKIN), pick(self.generator, CARTOON_HAIR), self.colour(), self.colour(),
            self.uniform(0.9, 1.5), self.ink, self.uniform(1.0, 1.7),
        )  # fmt: skip


def somebody(pose: Callable[[float], Pose]) -> Paint:
    """One person in a pose."""

    def paint(sheet: Sheet, x: float, y: float, size: float) -> None:
        sheet.person(x, y, size, pose, sheet.side())

    return paint


def pair(first: Callable[[float], Pose], second: Callable[[float], Pose], near: float, far: float) -> Paint:
    """Two people face to face, a distance apart that is a share of their size."""

    def paint(sheet: Sheet, x: float, y: float, size: float) -> None:
        gap, side = size * sheet.uniform(near, far), sheet.side()
        sheet.person(x - side * gap / 2, y, size * sheet.uniform(0.92, 1.05), first, side)
        sheet.person(x + side * gap / 2, y, size * sheet.uniform(0.92, 1.05), second, -side)

    return paint


def fighting(sheet: Sheet, x: float, y: float, size: float) -> None:
    blows = (poses.punch, poses.punch, poses.kick, poses.reel)
    first, second = (blows[i] for i in sheet.generator.integers(4, size=2))
    pair(first, poses.punch if first is poses.reel else second, 0.32, 0.6)(sheet, x, y, size)


def robbery(sheet: Sheet, x: float, y: float, size: float) -> None:
    side, gap = sheet.side(), size * sheet.uniform(0.6, 0.85)
    look = sheet.outfit()
    if sheet.uniform(0, 1) < 0.7:
        look = Outfit((40, 38, 44), (26, 26, 30), (36, 36, 44), look.trousers, look.build, look.outline, look.head)
    hand = sheet.person(x - side * gap / 2, y, size, poses.aim, side, look).hands[0]
    line(sheet.canvas, [hand, (hand[0] + side * 0.14 * size, hand[1])], INK, 0.05 * size)
    sheet.person(x + side * gap / 2, y, size, poses.hands_up, -side)


def vandalism(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    middle = x + side * 0.25 * size
    sheet.box(middle, y, 0.6 * size, 0.95 * size, sheet.colour())
    sheet.box(middle, y - 0.3 * size, 0.46 * size, 0.55 * size, (186, 220, 240))
    effects.cracks(sheet.canvas, (middle, y - 0.55 * size), 0.32 * size, int(sheet.uniform(0, 1e6)))
    joints = sheet.person(x - side * 0.35 * size, y, size, poses.smash, side)
    hand, head = np.array(joints.hands[0]), np.array(joints.head) + [0, 0.14 * size]
    along = (hand - head) / max(1.0, float(np.hypot(*(hand - head))))
    line(sheet.canvas, [hand, hand + 0.42 * size * along], (150, 104, 60), 0.06 * size)
    effects.shards(sheet.canvas, (middle, y - 0.55 * size), 0.6 * size, sheet.uniform(0.1, 0.9))


def arson(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    if sheet.uniform(0, 1) < 0.5:
        house(sheet, x + side * 0.3 * size, y, 0.8 * size)
    effects.flames(sheet.canvas, (x + side * 0.3 * size, y), size * sheet.uniform(0.5, 0.9), size * sheet.uniform(0.6, 1.1),
                   sheet.uniform(0, 9))  # fmt: skip
    hand = sheet.person(x - side * 0.4 * size, y, 0.9 * size, poses.torch, side).hands[0]
    glow(sheet.canvas, hand, 0.2 * size, (255, 160, 60), 0.9)


def explosion(sheet: Sheet, x: float, y: float, size: float) -> None:
    effects.blast(sheet.canvas, (x, y - 0.45 * size), 0.5 * size, sheet.uniform(0.1, 2.5), int(sheet.uniform(0, 1e6)))


def road_accidents(sheet: Sheet, x: float, y: float, size: float) -> None:
    side, paint = sheet.side(), sheet.colour()
    vehicle(sheet.canvas, (x - side * 0.34 * size, y), 0.85 * size, paint, side, tilt=float(sheet.generator.choice((0, 20, 60, 165, 180))),
            dent=1, outline=sheet.ink)  # fmt: skip
    vehicle(sheet.canvas, (x + side * 0.34 * size, y), 0.85 * size, sheet.colour(), -side, tilt=sheet.uniform(-20, 5),
            dent=1, outline=sheet.ink)  # fmt: skip
    debris(sheet.canvas, (x, y), 0.6 * size, int(sheet.uniform(0, 1e6)), paint)
    wreck_smoke(sheet.canvas, (x, y - 0.2 * size), 0.7 * size, sheet.uniform(0, 1))


def stealing(sheet: Sheet, x: float, y: float, size: float) -> None:
    side, gap = sheet.side(), size * sheet.uniform(0.5, 0.9)
    hand = sheet.person(x + side * gap / 2, y, size, poses.run, side).hands[0]
    bag(sheet, hand[0], hand[1] + 0.12 * size, 0.22 * size)
    sheet.person(x - side * gap / 2, y, size, poses.run, side)


def crowd(sheet: Sheet, x: float, y: float, size: float) -> None:
    for i in range(5):
        pose = (poses.stand, poses.walk, poses.talk)[sheet.generator.integers(3)]
        sheet.person(x + (i - 2) * 0.28 * size, y - 0.1 * size * (i % 2), 0.7 * size, pose, sheet.side())


def carrying(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    hand = sheet.person(x, y, size, poses.carry, side).hands[0]
    sheet.box(hand[0], hand[1] + 0.1 * size, 0.26 * size, 0.24 * size, (206, 164, 110))


def playing(sheet: Sheet, x: float, y: float, size: float) -> None:
    pair(poses.play, poses.play, 0.7, 1.0)(sheet, x, y, 0.9 * size)
    sheet.round(x, y - sheet.uniform(0.1, 0.9) * size, 0.09 * size, 0.09 * size, sheet.colour())


def traffic(kind: str) -> Paint:
    """A vehicle by itself."""

    def paint(sheet: Sheet, x: float, y: float, size: float) -> None:
        vehicle(sheet.canvas, (x, y), 1.15 * size, sheet.colour(), sheet.side(), kind, outline=sheet.ink)

    return paint


def traffic_jam(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    for i in range(3):
        vehicle(sheet.canvas, (x + (i - 1) * 0.55 * size, y - 0.1 * (i % 2) * size), 0.6 * size, sheet.colour(), side,
                outline=sheet.ink)  # fmt: skip


def bicycle(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for wheel in (-0.32, 0.32):
        disc(sheet.canvas, (x + wheel * size, y - 0.22 * size), 0.22 * size, INK)
        disc(sheet.canvas, (x + wheel * size, y - 0.22 * size), 0.18 * size, (236, 236, 232))
    for a, b in (((-0.32, 0.22), (-0.06, 0.22)), ((-0.06, 0.22), (0.2, 0.5)), ((-0.32, 0.22), (-0.14, 0.5)),
                 ((-0.14, 0.5), (0.2, 0.5)), ((0.32, 0.22), (0.18, 0.6)), ((-0.06, 0.22), (-0.16, 0.58))):  # fmt: skip
        line(sheet.canvas, [(x + a[0] * size, y - a[1] * size), (x + b[0] * size, y - b[1] * size)], colour, 0.05 * size)


def boat(sheet: Sheet, x: float, y: float, size: float) -> None:
    rectangle(sheet.canvas, (0, y - 0.06 * size), (sheet.canvas.shape[1], sheet.canvas.shape[0]), (86, 150, 210))
    sheet.shape([(x - 0.5 * size, y - 0.25 * size), (x + 0.5 * size, y - 0.25 * size), (x + 0.34 * size, y), (x - 0.34 * size, y)],
                sheet.colour())  # fmt: skip
    line(sheet.canvas, [(x, y - 0.25 * size), (x, y - size)], INK, 2)
    sheet.shape([(x + 3, y - size), (x + 0.4 * size, y - 0.35 * size), (x + 3, y - 0.35 * size)], (250, 246, 236))


def aeroplane(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour = y - 0.5 * size, sheet.colour()
    sheet.round(x, middle, 0.55 * size, 0.1 * size, colour)
    sheet.shape([(x - 0.1 * size, middle), (x - 0.3 * size, middle + 0.36 * size), (x + 0.12 * size, middle)], shade(colour, 0.8))
    sheet.shape([(x - 0.52 * size, middle), (x - 0.6 * size, middle - 0.26 * size), (x - 0.36 * size, middle)], shade(colour, 0.8))


def train(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for i in (-1, 0, 1):
        vehicle(sheet.canvas, (x + i * 0.62 * size, y), 0.6 * size, colour, 1, "bus", outline=sheet.ink)
    line(sheet.canvas, [(0, y + 2), (sheet.canvas.shape[1], y + 2)], INK, 2)


def campfire(sheet: Sheet, x: float, y: float, size: float) -> None:
    for turn in (-0.12, 0.12):
        line(sheet.canvas, [(x - 0.4 * size, y + turn * size), (x + 0.4 * size, y - turn * size)], (112, 74, 46), 0.09 * size)
    effects.flames(sheet.canvas, (x, y - 0.04 * size), 0.55 * size, 0.7 * size, sheet.uniform(0, 9))


def candle(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y, 0.2 * size, 0.6 * size, sheet.colour())
    glow(sheet.canvas, (x, y - 0.72 * size), 0.3 * size, (200, 140, 50), 0.8)
    ellipse(sheet.canvas, (x, y - 0.72 * size), (0.06 * size, 0.12 * size), (255, 200, 80))


def fireworks(sheet: Sheet, x: float, y: float, size: float) -> None:
    rectangle(sheet.canvas, (0, 0), (sheet.canvas.shape[1], sheet.canvas.shape[0]), (22, 24, 52))
    for _ in range(3):
        cx, cy, colour = x + sheet.uniform(-0.5, 0.5) * size, y - sheet.uniform(0.2, 0.9) * size, sheet.colour()
        for angle in np.linspace(0, 6.28, 14):
            tip = (cx + 0.3 * size * np.cos(angle), cy + 0.3 * size * np.sin(angle))
            line(sheet.canvas, [(cx, cy), tip], colour, 1)


def chimney_smoke(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y, 0.3 * size, 0.5 * size, (170, 90, 70))
    effects.smoke(sheet.canvas, (x, y - 0.5 * size), 0.7 * size, sheet.uniform(0, 9), (150, 150, 156))


def _beast(legs: float, neck: float, ears: float, tail: float) -> Paint:
    def paint(sheet: Sheet, x: float, y: float, size: float) -> None:
        side, coat = sheet.side(), pick(sheet.generator, ((158, 110, 72), (90, 80, 78), (226, 190, 140), (245, 240, 232), (60, 52, 52)))
        back = y - legs * size
        for at in (-0.32, -0.2, 0.2, 0.32):
            line(sheet.canvas, [(x + at * size, back), (x + at * size, y)], shade(coat, 0.8), 0.09 * size)
        sheet.round(x, back, 0.42 * size, 0.17 * size, coat)
        head = (x + side * (0.42 + 0.3 * neck) * size, back - (0.16 + neck) * size)
        line(sheet.canvas, [(x + side * 0.34 * size, back), head], coat, 0.14 * size)
        sheet.round(*head, 0.15 * size, 0.12 * size, coat)
        for at in (-0.06, 0.05):
            sheet.shape([(head[0] + at * size, head[1] - 0.08 * size), (head[0] + (at + 0.03) * size, head[1] - (0.1 + ears) * size),
                         (head[0] + (at + 0.07) * size, head[1] - 0.08 * size)], shade(coat, 0.7))  # fmt: skip
        line(sheet.canvas, [(x - side * 0.4 * size, back), (x - side * 0.58 * size, back - tail * size)], coat, 0.06 * size)

    return paint


def bird(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour, side = y - 0.5 * size, sheet.colour(), sheet.side()
    sheet.round(x, middle, 0.34 * size, 0.18 * size, colour)
    sheet.round(x + side * 0.34 * size, middle - 0.14 * size, 0.12 * size, 0.12 * size, colour)
    sheet.shape([(x + side * 0.44 * size, middle - 0.16 * size), (x + side * 0.6 * size, middle - 0.12 * size),
                 (x + side * 0.44 * size, middle - 0.08 * size)], (250, 180, 40))  # fmt: skip
    sheet.shape([(x, middle), (x - side * 0.26 * size, middle - 0.42 * size), (x - side * 0.3 * size, middle)], shade(colour, 0.75))


def fish(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour, side = y - 0.45 * size, sheet.colour(), sheet.side()
    sheet.shape([(x - side * 0.3 * size, middle), (x - side * 0.6 * size, middle - 0.24 * size), (x - side * 0.6 * size, middle + 0.24 * size)],
                shade(colour, 0.8))  # fmt: skip
    sheet.round(x, middle, 0.4 * size, 0.22 * size, colour)
    disc(sheet.canvas, (x + side * 0.24 * size, middle - 0.05 * size), 0.04 * size, INK)


def tree(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y, 0.14 * size, 0.45 * size, (132, 90, 58))
    for dx, dy in ((0, 0.75), (-0.2, 0.58), (0.2, 0.58)):
        sheet.round(x + dx * size, y - dy * size, 0.24 * size, 0.24 * size, (96, 172, 84))


def flower(sheet: Sheet, x: float, y: float, size: float) -> None:
    line(sheet.canvas, [(x, y), (x, y - 0.6 * size)], (70, 150, 70), 0.05 * size)
    colour = sheet.colour()
    for angle in np.linspace(0, 6.28, 7)[:-1]:
        sheet.round(x + 0.17 * size * np.cos(angle), y - 0.7 * size + 0.17 * size * np.sin(angle), 0.11 * size, 0.11 * size, colour)
    disc(sheet.canvas, (x, y - 0.7 * size), 0.1 * size, (252, 210, 60))


def sun(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle = y - 0.55 * size
    for angle in np.linspace(0, 6.28, 13):
        line(sheet.canvas, [(x, middle), (x + 0.5 * size * np.cos(angle), middle + 0.5 * size * np.sin(angle))], (252, 190, 50), 2)
    disc(sheet.canvas, (x, middle), 0.28 * size, (255, 220, 80))


def rain(sheet: Sheet, x: float, y: float, size: float) -> None:
    for dx in (-0.25, 0, 0.25):
        sheet.round(x + dx * size, y - 0.75 * size, 0.24 * size, 0.18 * size, (206, 212, 222))
    for dx in np.linspace(-0.4, 0.4, 7):
        line(sheet.canvas, [(x + dx * size, y - 0.5 * size), (x + (dx - 0.08) * size, y - sheet.uniform(0.05, 0.3) * size)], (90, 140, 220), 2)


def mountain(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.shape([(x - 0.7 * size, y), (x, y - size), (x + 0.7 * size, y)], (130, 136, 150))
    sheet.shape([(x - 0.18 * size, y - 0.74 * size), (x, y - size), (x + 0.18 * size, y - 0.74 * size)], (250, 250, 252))


def house(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y, 0.8 * size, 0.6 * size, sheet.colour())
    sheet.shape([(x - 0.5 * size, y - 0.6 * size), (x, y - size), (x + 0.5 * size, y - 0.6 * size)], sheet.colour())
    sheet.box(x, y, 0.18 * size, 0.34 * size, (112, 76, 56))
    for dx in (-0.26, 0.26):
        sheet.box(x + dx * size, y - 0.26 * size, 0.16 * size, 0.16 * size, (190, 226, 244))


def tower(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y, 0.4 * size, 1.1 * size, pick(sheet.generator, ((150, 160, 176), (186, 166, 146), (120, 136, 160))))
    for row in range(6):
        for dx in (-0.1, 0.1):
            sheet.box(x + dx * size, y - (0.1 + 0.16 * row) * size, 0.1 * size, 0.09 * size, (250, 230, 150))


def chair(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour, side = sheet.colour(), sheet.side()
    for dx in (-0.24, 0.24):
        line(sheet.canvas, [(x + dx * size, y), (x + dx * size, y - 0.45 * size)], shade(colour, 0.7), 0.06 * size)
    sheet.box(x, y - 0.4 * size, 0.56 * size, 0.1 * size, colour)
    sheet.box(x - side * 0.24 * size, y - 0.45 * size, 0.09 * size, 0.55 * size, colour)


def bench(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = pick(sheet.generator, ((158, 110, 72), (90, 130, 90), (120, 120, 128)))
    for dx in (-0.45, 0.45):
        line(sheet.canvas, [(x + dx * size, y), (x + dx * size, y - 0.3 * size)], INK, 0.06 * size)
    for up in (0.26, 0.44, 0.56):
        sheet.box(x, y - up * size, 1.1 * size, 0.08 * size, colour)


def table(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for dx in (-0.42, 0.42):
        line(sheet.canvas, [(x + dx * size, y), (x + dx * size, y - 0.5 * size)], shade(colour, 0.7), 0.07 * size)
    sheet.box(x, y - 0.48 * size, 1.1 * size, 0.1 * size, colour)
    sheet.round(x, y - 0.66 * size, 0.1 * size, 0.08 * size, sheet.colour())


def bed(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    sheet.box(x, y - 0.1 * size, 1.1 * size, 0.26 * size, sheet.colour())
    sheet.box(x - side * 0.55 * size, y, 0.08 * size, 0.65 * size, (132, 90, 58))
    sheet.round(x - side * 0.36 * size, y - 0.4 * size, 0.15 * size, 0.08 * size, (250, 248, 240))


def lamp(sheet: Sheet, x: float, y: float, size: float) -> None:
    line(sheet.canvas, [(x, y), (x, y - 0.7 * size)], INK, 0.05 * size)
    sheet.shape([(x - 0.26 * size, y - 0.6 * size), (x - 0.14 * size, y - size), (x + 0.14 * size, y - size), (x + 0.26 * size, y - 0.6 * size)],
                (255, 224, 130))  # fmt: skip
    glow(sheet.canvas, (x, y - 0.7 * size), 0.6 * size, (120, 96, 40), 0.7)


def clock(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle = y - 0.5 * size
    sheet.round(x, middle, 0.42 * size, 0.42 * size, sheet.colour())
    disc(sheet.canvas, (x, middle), 0.34 * size, (252, 250, 244))
    for reach in (0.28, 0.18):
        angle = sheet.uniform(0, 6.28)
        line(sheet.canvas, [(x, middle), (x + reach * size * np.cos(angle), middle + reach * size * np.sin(angle))], INK, 2)


def ball(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.round(x, y - 0.4 * size, 0.4 * size, 0.4 * size, sheet.colour())
    ellipse(sheet.canvas, (x, y - 0.4 * size), (0.4 * size, 0.12 * size), sheet.colour(), sheet.uniform(0, 180))


def umbrella(sheet: Sheet, x: float, y: float, size: float) -> None:
    line(sheet.canvas, [(x, y - 0.1 * size), (x, y - 0.8 * size)], INK, 2)
    angles = np.linspace(np.pi, 2 * np.pi, 12)
    sheet.shape([(x + 0.5 * size * np.cos(a), y - 0.55 * size + 0.42 * size * np.sin(a)) for a in angles], sheet.colour())


def cup(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour, side = sheet.colour(), sheet.side()
    sheet.round(x + side * 0.32 * size, y - 0.36 * size, 0.14 * size, 0.16 * size, shade(colour, 0.7))
    sheet.shape([(x - 0.3 * size, y - 0.65 * size), (x + 0.3 * size, y - 0.65 * size), (x + 0.22 * size, y), (x - 0.22 * size, y)], colour)


def apple(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.round(x, y - 0.4 * size, 0.38 * size, 0.36 * size, pick(sheet.generator, ((226, 60, 60), (130, 200, 70), (248, 200, 60))))
    line(sheet.canvas, [(x, y - 0.7 * size), (x + 0.06 * size, y - 0.92 * size)], (112, 76, 56), 0.06 * size)
    ellipse(sheet.canvas, (x + 0.16 * size, y - 0.86 * size), (0.14 * size, 0.06 * size), (84, 176, 84), -20)


def book(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for side in (-1, 1):
        sheet.shape([(x, y - 0.1 * size), (x, y - 0.6 * size), (x + side * 0.5 * size, y - 0.7 * size), (x + side * 0.5 * size, y - 0.2 * size)],
                    shade(colour, 1.0 if side > 0 else 0.85))  # fmt: skip
        for up in (0.3, 0.42, 0.54):
            line(sheet.canvas, [(x + side * 0.08 * size, y - up * size), (x + side * 0.42 * size, y - (up + 0.06) * size)], (250, 248, 240), 1)


def bag(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    disc(sheet.canvas, (x, y - 0.62 * size), 0.24 * size, shade(colour, 0.6))
    disc(sheet.canvas, (x, y - 0.62 * size), 0.15 * size, (245, 240, 230))
    sheet.shape([(x - 0.42 * size, y), (x - 0.34 * size, y - 0.65 * size), (x + 0.34 * size, y - 0.65 * size), (x + 0.42 * size, y)], colour)


def bottle(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    sheet.box(x, y, 0.34 * size, 0.62 * size, colour)
    sheet.box(x, y - 0.62 * size, 0.14 * size, 0.3 * size, shade(colour, 0.8))


def hammer(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    line(sheet.canvas, [(x - side * 0.25 * size, y), (x + side * 0.2 * size, y - 0.75 * size)], (170, 120, 72), 0.1 * size)
    line(sheet.canvas, [(x - side * 0.05 * size, y - 0.88 * size), (x + side * 0.45 * size, y - 0.66 * size)], (96, 100, 110), 0.2 * size)


def pistol(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    line(sheet.canvas, [(x - side * 0.4 * size, y - 0.6 * size), (x + side * 0.5 * size, y - 0.6 * size)], (60, 62, 70), 0.2 * size)
    line(sheet.canvas, [(x - side * 0.3 * size, y - 0.55 * size), (x - side * 0.4 * size, y - 0.1 * size)], (90, 66, 50), 0.2 * size)


def ladder(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for dx in (-0.18, 0.18):
        line(sheet.canvas, [(x + dx * size, y), (x + 0.8 * dx * size, y - size)], colour, 0.05 * size)
    for up in np.linspace(0.12, 0.88, 6):
        line(sheet.canvas, [(x - 0.17 * size, y - up * size), (x + 0.17 * size, y - up * size)], colour, 0.04 * size)


def window(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.box(x, y - 0.1 * size, 0.8 * size, 0.8 * size, sheet.colour())
    for dx in (-0.18, 0.18):
        for up in (0.16, 0.54):
            sheet.box(x + dx * size, y - up * size, 0.3 * size, 0.3 * size, (180, 220, 244))


def room(sheet: Sheet, x: float, y: float, size: float) -> None:
    canvas, wall = sheet.canvas, sheet.colour()
    height, width = canvas.shape[:2]
    rectangle(canvas, (0, 0), (width, height), wall)
    sheet.shape([(0, height), (0.22 * width, 0.68 * height), (0.78 * width, 0.68 * height), (width, height)], sheet.colour())
    sheet.box(0.5 * width, 0.45 * height, 0.28 * width, 0.28 * height, (190, 226, 244))
    (chair, table, lamp, bed)[sheet.generator.integers(4)](sheet, sheet.uniform(0.3, 0.7) * width, 0.88 * height, 0.35 * height)


def shelves(sheet: Sheet, x: float, y: float, size: float) -> None:
    for row in range(4):
        base = y - 0.27 * row * size
        sheet.box(x, base, 1.3 * size, 0.04 * size, (132, 90, 58))
        for dx in np.arange(-0.58, 0.6, 0.14):
            sheet.box(x + dx * size, base - 0.04 * size, 0.1 * size, sheet.uniform(0.1, 0.2) * size, sheet.colour())


def street(sheet: Sheet, x: float, y: float, size: float) -> None:
    canvas = sheet.canvas
    height, width = canvas.shape[:2]
    for i in range(4):
        house(sheet, (i + 0.3) * 0.3 * width, 0.62 * height, 0.34 * height * sheet.uniform(0.8, 1.2))
    rectangle(canvas, (0, 0.66 * height), (width, height), (110, 112, 120))
    for at in np.arange(0, width, 0.2 * width):
        line(canvas, [(at, 0.83 * height), (at + 0.1 * width, 0.83 * height)], (250, 246, 236), 2)


dog, cat, horse, cow = _beast(0.34, 0.06, 0.02, 0.16), _beast(0.28, 0.02, 0.12, 0.4), _beast(0.55, 0.3, 0.04, -0.2), _beast(0.42, 0.04, 0.0, -0.15)
