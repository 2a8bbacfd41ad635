"""Houses, rooms and furniture."""

import numpy as np

from anomalyclip.benchmark.drawing.canvas import disc, ellipse, glow, line, pick, rectangle, shade
from anomalyclip.benchmark.pictures.subjects.sheet import INK, Sheet


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
    sheet.shape(
        [
            (x - 0.26 * size, y - 0.6 * size),
            (x - 0.14 * size, y - size),
            (x + 0.14 * size, y - size),
            (x + 0.26 * size, y - 0.6 * size),
        ],
        (255, 224, 130),
    )
    glow(sheet.canvas, (x, y - 0.7 * size), 0.6 * size, (120, 96, 40), 0.7)


def clock(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle = y - 0.5 * size
    sheet.round(x, middle, 0.42 * size, 0.42 * size, sheet.colour())
    disc(sheet.canvas, (x, middle), 0.34 * size, (252, 250, 244))
    for reach in (0.28, 0.18):
        angle = sheet.uniform(0, 6.28)
        line(
            sheet.canvas,
            [(x, middle), (x + reach * size * np.cos(angle), middle + reach * size * np.sin(angle))],
            INK,
            2,
        )


def ball(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.round(x, y - 0.4 * size, 0.4 * size, 0.4 * size, sheet.colour())
    ellipse(sheet.canvas, (x, y - 0.4 * size), (0.4 * size, 0.12 * size), sheet.colour(), sheet.uniform(0, 180))


def umbrella(sheet: Sheet, x: float, y: float, size: float) -> None:
    line(sheet.canvas, [(x, y - 0.1 * size), (x, y - 0.8 * size)], INK, 2)
    angles = np.linspace(np.pi, 2 * np.pi, 12)
    sheet.shape(
        [(x + 0.5 * size * np.cos(a), y - 0.55 * size + 0.42 * size * np.sin(a)) for a in angles], sheet.colour()
    )


def cup(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour, side = sheet.colour(), sheet.side()
    sheet.round(x + side * 0.32 * size, y - 0.36 * size, 0.14 * size, 0.16 * size, shade(colour, 0.7))
    sheet.shape(
        [
            (x - 0.3 * size, y - 0.65 * size),
            (x + 0.3 * size, y - 0.65 * size),
            (x + 0.22 * size, y),
            (x - 0.22 * size, y),
        ],
        colour,
    )


def apple(sheet: Sheet, x: float, y: float, size: float) -> None:
    sheet.round(
        x,
        y - 0.4 * size,
        0.38 * size,
        0.36 * size,
        pick(sheet.generator, ((226, 60, 60), (130, 200, 70), (248, 200, 60))),
    )
    line(sheet.canvas, [(x, y - 0.7 * size), (x + 0.06 * size, y - 0.92 * size)], (112, 76, 56), 0.06 * size)
    ellipse(sheet.canvas, (x + 0.16 * size, y - 0.86 * size), (0.14 * size, 0.06 * size), (84, 176, 84), -20)


def book(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for side in (-1, 1):
        sheet.shape(
            [
                (x, y - 0.1 * size),
                (x, y - 0.6 * size),
                (x + side * 0.5 * size, y - 0.7 * size),
                (x + side * 0.5 * size, y - 0.2 * size),
            ],
            shade(colour, 1.0 if side > 0 else 0.85),
        )
        for up in (0.3, 0.42, 0.54):
            line(
                sheet.canvas,
                [(x + side * 0.08 * size, y - up * size), (x + side * 0.42 * size, y - (up + 0.06) * size)],
                (250, 248, 240),
                1,
            )


def bag(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    disc(sheet.canvas, (x, y - 0.62 * size), 0.24 * size, shade(colour, 0.6))
    disc(sheet.canvas, (x, y - 0.62 * size), 0.15 * size, (245, 240, 230))
    sheet.shape(
        [
            (x - 0.42 * size, y),
            (x - 0.34 * size, y - 0.65 * size),
            (x + 0.34 * size, y - 0.65 * size),
            (x + 0.42 * size, y),
        ],
        colour,
    )


def bottle(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    sheet.box(x, y, 0.34 * size, 0.62 * size, colour)
    sheet.box(x, y - 0.62 * size, 0.14 * size, 0.3 * size, shade(colour, 0.8))


def hammer(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    line(
        sheet.canvas,
        [(x - side * 0.25 * size, y), (x + side * 0.2 * size, y - 0.75 * size)],
        (170, 120, 72),
        0.1 * size,
    )
    line(
        sheet.canvas,
        [(x - side * 0.05 * size, y - 0.88 * size), (x + side * 0.45 * size, y - 0.66 * size)],
        (96, 100, 110),
        0.2 * size,
    )


def pistol(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    line(
        sheet.canvas,
        [(x - side * 0.4 * size, y - 0.6 * size), (x + side * 0.5 * size, y - 0.6 * size)],
        (60, 62, 70),
        0.2 * size,
    )
    line(
        sheet.canvas,
        [(x - side * 0.3 * size, y - 0.55 * size), (x - side * 0.4 * size, y - 0.1 * size)],
        (90, 66, 50),
        0.2 * size,
    )


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
    sheet.shape(
        [(0, height), (0.22 * width, 0.68 * height), (0.78 * width, 0.68 * height), (width, height)], sheet.colour()
    )
    sheet.box(0.5 * width, 0.45 * height, 0.28 * width, 0.28 * height, (190, 226, 244))
    (chair, table, lamp, bed)[sheet.generator.integers(4)](
        sheet, sheet.uniform(0.3, 0.7) * width, 0.88 * height, 0.35 * height
    )


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
