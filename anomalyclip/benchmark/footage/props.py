"""Things that people hold, carry or sit on."""

from collections.abc import Callable

import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas, Point, disc, glow, line, pick, rectangle, shade
from anomalyclip.benchmark.drawing.people import Joints

METAL, WOOD, LEATHER = (24, 24, 28), (120, 84, 48), (92, 58, 36)


def box(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A cardboard box in both arms."""
    (x, y), size = joints.hands[0], 0.2 * height
    rectangle(canvas, (x - 0.5 * size, y - 0.7 * size), (x + 0.5 * size, y + 0.3 * size), (176, 138, 92))


def bag(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A bag that hangs from a hand."""
    (x, y), size = joints.hands[1], 0.13 * height
    line(canvas, [(x, y), (x, y + 0.5 * size)], LEATHER, 1)
    rectangle(canvas, (x - 0.6 * size, y + 0.4 * size), (x + 0.6 * size, y + 1.4 * size), LEATHER)


def trolley(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A trolley that is pushed."""
    (x, y), size = joints.hands[0], 0.34 * height
    near, far = x + facing * 0.1 * size, x + facing * 1.3 * size
    rectangle(canvas, (min(near, far), y), (max(near, far), y + 0.7 * size), (128, 134, 140))
    for wheel in (near, far):
        disc(canvas, (wheel, y + 1.1 * size), 0.1 * size, METAL)
        line(canvas, [(wheel, y + 0.7 * size), (wheel, y + 1.1 * size)], METAL, 1)


def ball(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A ball that bounces in front of a player."""
    x = joints.hands[0][0] + facing * 0.2 * height
    bounce = abs(np.sin(np.pi * phase))
    disc(canvas, (x, joints.head[1] + height * (0.86 - 0.5 * bounce)), 0.06 * height, (214, 120, 40))


def umbrella(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """An umbrella, or a stick, held up and forward."""
    x, y = joints.hands[0]
    line(canvas, [(x, y), (x + facing * 0.3 * height, y - 0.06 * height)], (40, 44, 60), max(1, 0.03 * height))


def pistol(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A pistol in a stretched hand."""
    x, y = joints.hands[0]
    line(canvas, [(x, y), (x + facing * 0.13 * height, y - 0.01 * height)], METAL, max(2, 0.045 * height))
    line(canvas, [(x + facing * 0.01 * height, y), (x, y + 0.06 * height)], METAL, max(2, 0.04 * height))


def bat(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A bat in line with the arms that swing it."""
    hand, head = np.array(joints.hands[0]), np.add(joints.head, (0, 0.14 * height))
    along = (hand - head) / max(1.0, float(np.hypot(*(hand - head))))
    line(canvas, [hand, hand + 0.4 * height * along], shade(WOOD, 1.2), max(2, 0.055 * height))


def firebrand(canvas: Canvas, joints: Joints, height: float, phase: float, facing: int) -> None:
    """A burning stick."""
    x, y = joints.hands[0]
    tip = (x + facing * 0.14 * height, y - 0.05 * height)
    line(canvas, [(x, y), tip], WOOD, max(1, 0.03 * height))
    glow(canvas, tip, 0.24 * height, (255, 160, 50), 0.9 + 0.1 * np.sin(20 * phase))


def heap(canvas: Canvas, place: Point, height: float, time: float) -> None:
    """A heap of rubbish, or a bin."""
    half = 0.22 * height
    rectangle(canvas, (place[0] - half, place[1] - 0.3 * height), (place[0] + half, place[1]), (74, 70, 62))


def glass_case(generator: np.random.Generator) -> Callable[[Canvas, Point, float, float], None]:
    """A show-case or a vending machine with a glass front."""
    paint = pick(generator, ((66, 96, 122), (120, 60, 56), (70, 76, 82), (60, 100, 84)))
    wide = float(generator.uniform(0.5, 0.7))

    def draw(canvas: Canvas, place: Point, height: float, time: float) -> None:
        (x, y), half = place, 0.5 * wide * height
        rectangle(canvas, (x - half, y - 0.95 * height), (x + half, y), paint)
        rectangle(canvas, (x - 0.8 * half, y - 0.88 * height), (x + 0.8 * half, y - 0.3 * height), (164, 190, 202))
        line(canvas, [(x - 0.4 * half, y - 0.8 * height), (x + 0.3 * half, y - 0.45 * height)], (206, 222, 230), 2)

    return draw


def bench(canvas: Canvas, place: Point, height: float, time: float) -> None:
    """A bench that somebody sits on."""
    x, y = place
    rectangle(canvas, (x - 0.36 * height, y - 0.28 * height), (x + 0.3 * height, y - 0.22 * height), WOOD)
    for side in (-0.3, 0.24):
        line(canvas, [(x + side * height, y - 0.22 * height), (x + side * height, y)], METAL, max(1, 0.04 * height))
