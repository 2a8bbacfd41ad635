"""Fires, animals, plants and weather."""

import numpy as np

from anomalyclip.benchmark.drawing import effects
from anomalyclip.benchmark.drawing.canvas import disc, ellipse, glow, line, pick, rectangle, shade
from anomalyclip.benchmark.pictures.subjects.sheet import INK, Paint, Sheet


def campfire(sheet: Sheet, x: float, y: float, size: float) -> None:
    for turn in (-0.12, 0.12):
        line(
            sheet.canvas,
            [(x - 0.4 * size, y + turn * size), (x + 0.4 * size, y - turn * size)],
            (112, 74, 46),
            0.09 * size,
        )
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
        side, coat = (
            sheet.side(),
            pick(sheet.generator, ((158, 110, 72), (90, 80, 78), (226, 190, 140), (245, 240, 232), (60, 52, 52))),
        )
        back = y - legs * size
        for at in (-0.32, -0.2, 0.2, 0.32):
            line(sheet.canvas, [(x + at * size, back), (x + at * size, y)], shade(coat, 0.8), 0.09 * size)
        sheet.round(x, back, 0.42 * size, 0.17 * size, coat)
        head = (x + side * (0.42 + 0.3 * neck) * size, back - (0.16 + neck) * size)
        line(sheet.canvas, [(x + side * 0.34 * size, back), head], coat, 0.14 * size)
        sheet.round(*head, 0.15 * size, 0.12 * size, coat)
        for at in (-0.06, 0.05):
            sheet.shape(
                [
                    (head[0] + at * size, head[1] - 0.08 * size),
                    (head[0] + (at + 0.03) * size, head[1] - (0.1 + ears) * size),
                    (head[0] + (at + 0.07) * size, head[1] - 0.08 * size),
                ],
                shade(coat, 0.7),
            )
        line(
            sheet.canvas,
            [(x - side * 0.4 * size, back), (x - side * 0.58 * size, back - tail * size)],
            coat,
            0.06 * size,
        )

    return paint


def bird(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour, side = y - 0.5 * size, sheet.colour(), sheet.side()
    sheet.round(x, middle, 0.34 * size, 0.18 * size, colour)
    sheet.round(x + side * 0.34 * size, middle - 0.14 * size, 0.12 * size, 0.12 * size, colour)
    sheet.shape(
        [
            (x + side * 0.44 * size, middle - 0.16 * size),
            (x + side * 0.6 * size, middle - 0.12 * size),
            (x + side * 0.44 * size, middle - 0.08 * size),
        ],
        (250, 180, 40),
    )
    sheet.shape(
        [(x, middle), (x - side * 0.26 * size, middle - 0.42 * size), (x - side * 0.3 * size, middle)],
        shade(colour, 0.75),
    )


def fish(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour, side = y - 0.45 * size, sheet.colour(), sheet.side()
    sheet.shape(
        [
            (x - side * 0.3 * size, middle),
            (x - side * 0.6 * size, middle - 0.24 * size),
            (x - side * 0.6 * size, middle + 0.24 * size),
        ],
        shade(colour, 0.8),
    )
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
        sheet.round(
            x + 0.17 * size * np.cos(angle),
            y - 0.7 * size + 0.17 * size * np.sin(angle),
            0.11 * size,
            0.11 * size,
            colour,
        )
    disc(sheet.canvas, (x, y - 0.7 * size), 0.1 * size, (252, 210, 60))


def sun(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle = y - 0.55 * size
    for angle in np.linspace(0, 6.28, 13):
        line(
            sheet.canvas,
            [(x, middle), (x + 0.5 * size * np.cos(angle), middle + 0.5 * size * np.sin(angle))],
            (252, 190, 50),
            2,
        )
    disc(sheet.canvas, (x, middle), 0.28 * size, (255, 220, 80))


def rain(sheet: Sheet, x: float, y: float, size: float) -> None:
    for dx in (-0.25, 0, 0.25):
        sheet.round(x + dx * size, y - 0.75 * size, 0.24 * size, 0.18 * size, (206, 212, 222))
    for dx in np.linspace(-0.4, 0.4, 7):
        line(
            sheet.canvas,
            [(x + dx * size, y - 0.5 * size), (x + (dx - 0.08) * size, y - sheet.uniform(0.05, 0.3) * size)],
            (90, 140, 220),
            2,
        )


def mountain(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.shape([(x - 0.7 * size, y), (x, y - size), (x + 0.7 * size, y)], (130, 136, 150))
    sheet.shape(
        [(x - 0.18 * size, y - 0.74 * size), (x, y - size), (x + 0.18 * size, y - 0.74 * size)], (250, 250, 252)
    )


dog, cat, horse, cow = (
    _beast(0.34, 0.06, 0.02, 0.16),
    _beast(0.28, 0.02, 0.12, 0.4),
    _beast(0.55, 0.3, 0.04, -0.2),
    _beast(0.42, 0.04, 0.0, -0.15),
)
