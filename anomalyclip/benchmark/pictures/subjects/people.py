"""People by themselves, in pairs and in trouble."""

from collections.abc import Callable

import numpy as np

from anomalyclip.benchmark.drawing import effects, poses
from anomalyclip.benchmark.drawing.canvas import glow, line
from anomalyclip.benchmark.drawing.people import Outfit, Pose
from anomalyclip.benchmark.drawing.vehicles import debris, vehicle, wreck_smoke
from anomalyclip.benchmark.pictures.subjects.sheet import INK, Paint, Sheet
from anomalyclip.benchmark.pictures.subjects.things import bag, house


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
    hand, head = np.array(joints.hands[0]), np.add(joints.head, (0, 0.14 * size))
    along = (hand - head) / max(1.0, float(np.hypot(*(hand - head))))
    line(sheet.canvas, [hand, hand + 0.42 * size * along], (150, 104, 60), 0.06 * size)
    effects.shards(sheet.canvas, (middle, y - 0.55 * size), 0.6 * size, sheet.uniform(0.1, 0.9))


def arson(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    if sheet.uniform(0, 1) < 0.5:
        house(sheet, x + side * 0.3 * size, y, 0.8 * size)
    effects.flames(
        sheet.canvas,
        (x + side * 0.3 * size, y),
        size * sheet.uniform(0.5, 0.9),
        size * sheet.uniform(0.6, 1.1),
        sheet.uniform(0, 9),
    )
    hand = sheet.person(x - side * 0.4 * size, y, 0.9 * size, poses.torch, side).hands[0]
    glow(sheet.canvas, hand, 0.2 * size, (255, 160, 60), 0.9)


def explosion(sheet: Sheet, x: float, y: float, size: float) -> None:
    effects.blast(sheet.canvas, (x, y - 0.45 * size), 0.5 * size, sheet.uniform(0.1, 2.5), int(sheet.uniform(0, 1e6)))


def road_accidents(sheet: Sheet, x: float, y: float, size: float) -> None:
    side, paint = sheet.side(), sheet.colour()
    vehicle(
        sheet.canvas,
        (x - side * 0.34 * size, y),
        0.85 * size,
        paint,
        side,
        tilt=float(sheet.generator.choice((0, 20, 60, 165, 180))),
        dent=1,
        outline=sheet.ink,
    )
    vehicle(
        sheet.canvas,
        (x + side * 0.34 * size, y),
        0.85 * size,
        sheet.colour(),
        -side,
        tilt=sheet.uniform(-20, 5),
        dent=1,
        outline=sheet.ink,
    )
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
