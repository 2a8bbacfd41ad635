"""Fire, smoke, blasts and broken glass as functions of time."""

import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, Point, disc, glow, haze, line, polygon

FLAME: tuple[tuple[float, Colour], ...] = ((1.0, (226, 74, 16)), (0.7, (250, 150, 28)), (0.4, (255, 232, 130)))


def flames(canvas: Canvas, base: Point, width: float, height: float, time: float, seed: int = 0) -> None:
    """Tongues of flame over a base line; `time` in seconds makes them flicker."""
    glow(canvas, (base[0], base[1] - 0.4 * height), 1.5 * max(width, height), (150, 70, 14), 0.75)
    tongues = 7
    for share, colour in FLAME:
        points = [(base[0] - 0.5 * width * share, base[1])]
        for i in range(tongues):
            x = (i + 0.5) / tongues - 0.5
            flicker = 0.72 + 0.28 * np.sin(9.7 * time + 2.4 * i + 1.3 * seed) * np.sin(6.1 * time + 5.3 * i)
            peak = height * share * flicker * (1 - 1.5 * abs(x) ** 1.6)
            lean = 0.06 * width * np.sin(5.3 * time + 1.7 * i)
            points.append((base[0] + share * width * (x - 0.3 / tongues), base[1] - 0.42 * peak))
            points.append((base[0] + share * width * x + lean, base[1] - peak))
        points.append((base[0] + 0.5 * width * share, base[1]))
        polygon(canvas, points, colour)


def smoke(
    canvas: Canvas, base: Point, size: float, time: float, colour: Colour = (60, 56, 54), drift: float = 0.3
) -> None:
    """Smoke that rises from a base and drifts aside; `size` is the height it reaches in pixels."""
    puffs = 8
    for i in range(puffs):
        age = (0.35 * time + i / puffs) % 1
        x = base[0] + size * (drift * age + 0.06 * np.sin(7.3 * i + 2 * time))
        haze(canvas, (x, base[1] - size * age), size * (0.14 + 0.3 * age), colour, 0.62 * (1 - age) ** 0.7)


def blast(canvas: Canvas, centre: Point, size: float, age: float, seed: int = 0) -> None:
    """An explosion, `age` seconds after it went off: flash, ball of fire, dark smoke and flying pieces."""
    generator = np.random.default_rng(seed)
    rise = size * min(0.55, 0.1 * age)
    if age < 0.35:
        glow(canvas, centre, 4.5 * size, (255, 244, 214), 1.1 * (1 - age / 0.4))
    grown = size * (1 - np.exp(-5 * age))
    for dx, dy, share in generator.uniform((-0.6, -0.6, 0.35), (0.6, 0.3, 0.7), (9, 3)):
        haze(
            canvas,
            (centre[0] + dx * grown * 1.2, centre[1] + dy * grown - 1.6 * rise),
            1.25 * share * grown * (1 + 0.14 * age),
            (52, 47, 44),
            0.85 * float(np.exp(-0.16 * age)),
        )
    heat = float(np.exp(-0.28 * age))
    for share, colour in FLAME:
        for dx, dy, part in generator.uniform((-0.5, -0.5, 0.3), (0.5, 0.4, 0.55), (6, 3)):
            wobble = 1 + 0.12 * np.sin(7 * age + 9 * dx)
            radius = grown * part * share * heat * wobble
            if radius > 0.8:
                disc(
                    canvas,
                    (centre[0] + dx * grown * share, centre[1] + dy * grown * share - 0.6 * rise),
                    radius,
                    colour,
                )
    glow(canvas, centre, 2.2 * size, (220, 110, 30), 0.7 * heat)
    for angle, speed, length in generator.uniform((0.1, 0.8, 0.05), (3.04, 2.4, 0.2), (16, 3)):
        distance = size * speed * (1 - np.exp(-2.5 * age)) * 1.2
        fall = size * 0.5 * age * age
        along = np.array([np.cos(angle), -np.sin(angle)])
        place = np.array(centre) + distance * along + [0, fall]
        if place[1] < centre[1] + 0.6 * size:
            line(canvas, [place, place + size * length * along], (70, 60, 52), max(1, 0.07 * size))


def shards(canvas: Canvas, centre: Point, size: float, phase: float, seed: int = 0) -> None:
    """Broken glass that flies from a blow; `phase` counts blows, and pieces fly while it is below 0.6 of each."""
    age = phase % 1
    generator = np.random.default_rng([seed, int(phase)])
    for angle, speed, bit, turn in generator.uniform((-0.9, 0.5, 0.06, 0), (4.0, 1.6, 0.16, 3), (18, 4)):
        distance = size * speed * age
        place = np.array(centre) + distance * np.array([np.cos(angle), -np.sin(angle)]) + [0, 1.2 * size * age * age]
        corner = size * bit * np.array([[np.cos(turn + k), np.sin(turn + k)] for k in (0, 2.2, 3.9)])
        polygon(canvas, place + corner, (226, 240, 250))


def cracks(canvas: Canvas, centre: Point, size: float, seed: int = 0) -> None:
    """A star of cracks in a pane."""
    generator = np.random.default_rng(seed)
    for angle, length in generator.uniform((0, 0.5), (6.28, 1.1), (9, 2)):
        bend = angle + generator.uniform(-0.5, 0.5)
        middle = np.array(centre) + 0.5 * size * length * np.array([np.cos(angle), np.sin(angle)])
        end = middle + 0.5 * size * length * np.array([np.cos(bend), np.sin(bend)])
        line(canvas, [centre, middle, end], (236, 244, 250), 1)
    disc(canvas, centre, 0.14 * size, (20, 24, 28))
