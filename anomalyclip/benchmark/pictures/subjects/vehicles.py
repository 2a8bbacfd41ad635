"""Vehicles as subjects of illustrations."""

from anomalyclip.benchmark.drawing.canvas import disc, line, rectangle, shade
from anomalyclip.benchmark.drawing.vehicles import vehicle
from anomalyclip.benchmark.pictures.subjects.sheet import INK, Paint, Sheet


def traffic(kind: str) -> Paint:
    """A vehicle by itself."""

    def paint(sheet: Sheet, x: float, y: float, size: float) -> None:
        vehicle(sheet.canvas, (x, y), 1.15 * size, sheet.colour(), sheet.side(), kind, outline=sheet.ink)

    return paint


def traffic_jam(sheet: Sheet, x: float, y: float, size: float) -> None:
    side = sheet.side()
    for i in range(3):
        vehicle(
            sheet.canvas,
            (x + (i - 1) * 0.55 * size, y - 0.1 * (i % 2) * size),
            0.6 * size,
            sheet.colour(),
            side,
            outline=sheet.ink,
        )


def bicycle(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for wheel in (-0.32, 0.32):
        disc(sheet.canvas, (x + wheel * size, y - 0.22 * size), 0.22 * size, INK)
        disc(sheet.canvas, (x + wheel * size, y - 0.22 * size), 0.18 * size, (236, 236, 232))
    for a, b in (
        ((-0.32, 0.22), (-0.06, 0.22)),
        ((-0.06, 0.22), (0.2, 0.5)),
        ((-0.32, 0.22), (-0.14, 0.5)),
        ((-0.14, 0.5), (0.2, 0.5)),
        ((0.32, 0.22), (0.18, 0.6)),
        ((-0.06, 0.22), (-0.16, 0.58)),
    ):
        line(
            sheet.canvas, [(x + a[0] * size, y - a[1] * size), (x + b[0] * size, y - b[1] * size)], colour, 0.05 * size
        )


def boat(sheet: Sheet, x: float, y: float, size: float) -> None:
    rectangle(sheet.canvas, (0, y - 0.06 * size), (sheet.canvas.shape[1], sheet.canvas.shape[0]), (86, 150, 210))
    sheet.shape(
        [
            (x - 0.5 * size, y - 0.25 * size),
            (x + 0.5 * size, y - 0.25 * size),
            (x + 0.34 * size, y),
            (x - 0.34 * size, y),
        ],
        sheet.colour(),
    )
    line(sheet.canvas, [(x, y - 0.25 * size), (x, y - size)], INK, 2)
    sheet.shape([(x + 3, y - size), (x + 0.4 * size, y - 0.35 * size), (x + 3, y - 0.35 * size)], (250, 246, 236))


def aeroplane(sheet: Sheet, x: float, y: float, size: float) -> None:
    middle, colour = y - 0.5 * size, sheet.colour()
    sheet.round(x, middle, 0.55 * size, 0.1 * size, colour)
    sheet.shape(
        [(x - 0.1 * size, middle), (x - 0.3 * size, middle + 0.36 * size), (x + 0.12 * size, middle)],
        shade(colour, 0.8),
    )
    sheet.shape(
        [(x - 0.52 * size, middle), (x - 0.6 * size, middle - 0.26 * size), (x - 0.36 * size, middle)],
        shade(colour, 0.8),
    )


def train(sheet: Sheet, x: float, y: float, size: float) -> None:
    colour = sheet.colour()
    for i in (-1, 0, 1):
        vehicle(sheet.canvas, (x + i * 0.62 * size, y), 0.6 * size, colour, 1, "bus", outline=sheet.ink)
    line(sheet.canvas, [(0, y + 2), (sheet.canvas.shape[1], y + 2)], INK, 2)
