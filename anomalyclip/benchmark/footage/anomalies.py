"""The anomalies, by UCF-Crime's names: who takes part in the seconds from `start` to `end`.

Each function draws a scene from a generator; those who take part may come before and leave after it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anomalyclip.benchmark.drawing import poses
from anomalyclip.benchmark.drawing.canvas import Canvas, Point, pick
from anomalyclip.benchmark.drawing.effects import blast, cracks, flames, shards, smoke
from anomalyclip.benchmark.drawing.people import outfit
from anomalyclip.benchmark.drawing.vehicles import PAINT, debris, wreck_smoke
from anomalyclip.benchmark.footage import props
from anomalyclip.benchmark.footage.actors import Act, Actor, Effect, Person, Vehicle
from anomalyclip.benchmark.footage.places import Ground, Spot

Anomaly = Callable[[np.random.Generator, Ground, Spot, float, float], list[Actor]]
"""Generator, ground, spot of the anomaly, first and last second."""


def fighting(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """Two people, sometimes three, trade blows and kicks at close quarters."""
    u, v = spot
    people: list[Actor] = []
    for side in (-1, 1, 1)[: 2 + int(generator.uniform() < 0.3)]:
        stand = (u + side * float(generator.uniform(0.07, 0.1)), v + float(generator.uniform(-0.02, 0.02)))
        acts = [Act(start, stand, poses.walk, 1.3)]
        time = start
        while time < end:
            time = min(end, time + float(generator.uniform(0.4, 1.0)))
            blow = (poses.punch, poses.punch, poses.kick, poses.reel)[generator.integers(4)]
            jostled = (stand[0] + float(generator.uniform(-0.03, 0.03)), stand[1])
            acts.append(Act(time, jostled, blow, float(generator.uniform(1.4, 2.2)), -side))
        acts.append(Act(end + 4, (u + side * 1.1, v), poses.run, 1.6))
        people.append(_person(generator, start - 3, (u + side * 0.8, v), acts))
    return people


def arson(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """Somebody sets fire to the heap that lies at the spot; it burns until it is put out."""
    u, v = spot
    side = int(generator.choice((-1, 1)))
    wide, tall = generator.uniform((0.55, 0.8), (0.9, 1.3))

    def fire(canvas: Canvas, place: Point, height: float, age: float) -> None:
        grown = min(1.0, 0.45 + age / 2.5)
        smoke(canvas, (place[0], place[1] - 0.6 * grown * height), 1.1 * height, age)
        flames(canvas, place, wide * grown * height, tall * grown * height, age)

    beside: Spot = (u - side * 0.14, v)
    acts = [
        Act(start - 1, beside, poses.walk, 1.2),
        Act(start + 0.45 * (end - start), beside, poses.torch, 0.5, side, props.firebrand),
        Act(end, (u - side * 0.22, v), poses.stand, 0.3, side),
        Act(end + 4, (u - side * 1.2, v), poses.run, 1.5),
    ]
    return [
        _person(generator, start - 4, (u - side * 0.9, v), acts),
        Effect(start, end, (u, v), fire, before=0.02),
    ]


def explosion(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """Something blows up; people near it fall or run."""
    u, v = spot
    size, seed = float(generator.uniform(0.65, 0.9)), int(generator.integers(1 << 30))
    people: list[Actor] = []
    for side in (-1, 1):
        near = (u + side * float(generator.uniform(0.22, 0.34)), v)
        acts = [Act(start + 0.2, near, poses.stand, 0.3, side), Act(end, near, poses.lie, 0, side)]
        if side == int(generator.choice((-1, 1))):
            acts[1] = Act(start + 2.5, (u + side * 1.3, v), poses.run, 1.7)
        people.append(_person(generator, start - 5, near, acts))
    return [
        *people,
        Effect(
            start,
            end,
            (u, v),
            lambda canvas, place, height, age: blast(
                canvas, (place[0], place[1] - 0.4 * height), size * height, 0.45 * age, seed
            ),
        ),
    ]


def road_accidents(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """A car runs into another one and turns over; both smoke, pieces are scattered, a person lies on the road."""
    lane = int(generator.integers(len(ground.lanes)))
    facing, v = (1 if lane else -1), ground.lanes[lane]
    middle = float(generator.uniform(0.38, 0.62))
    paints = pick(generator, PAINT), pick(generator, PAINT)
    over = float(generator.choice((165, 180, 100, 40)))

    def turned(angle: float) -> Callable[[float], float]:
        return lambda time: angle * min(1.0, max(0.0, (time - start) / 0.5))

    def crashed(time: float) -> float:
        return float(time >= start)

    def hitting(time: float) -> float:
        return middle - facing * (0.16 + max(0.0, 0.55 * (start - time)) - 0.06 * min(1.0, max(0.0, time - start)))

    def hit(time: float) -> float:
        return middle + facing * (0.16 + 0.05 * min(1.0, max(0.0, 2 * (time - start))))

    def wreck(canvas: Canvas, place: Point, height: float, age: float) -> None:
        debris(canvas, place, 0.9 * height, int(1000 * middle), paints[0])
        wreck_smoke(canvas, (place[0], place[1] - 0.3 * height), 1.3 * height, 0.4 * age)

    lying = (middle + facing * 0.06, v + 0.14)
    return [
        Vehicle(start - 4, end, v, hitting, paints[0], "car", facing, 1.6, 0.0, turned(over), crashed),
        Vehicle(start - 9, end, v, hit, paints[1], "car", -facing, 1.6, 0.0, turned(-14), crashed),
        Effect(start, end, (middle, v), wreck, before=0.05),
        _person(generator, start + 0.5, lying, [Act(end, lying, poses.lie, 0, facing)]),
    ]


def robbery(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """A masked man holds a pistol at somebody whose hands go up, sometimes at two."""
    u, v = spot
    side = int(generator.choice((-1, 1)))
    dark = replace(outfit(generator), hair=(22, 22, 24), skin=(34, 32, 34), shirt=(28, 28, 32), trousers=(36, 38, 46))
    stand, gap = (u - side * 0.1, v), float(generator.uniform(0.2, 0.28))
    acts = [
        Act(start, stand, poses.run, 1.5),
        Act(end, stand, poses.aim, 0.6, side, props.pistol),
        Act(end + 3, (u - side * 1.2, v), poses.run, 1.7),
    ]
    people: list[Actor] = [Person(dark, start - 2.5, (u - side * 0.9, v), acts)]
    for i in range(1 + int(generator.uniform() < 0.4)):
        there = (u - side * 0.1 + side * (gap + 0.11 * i), v)
        people.append(
            _person(
                generator,
                start - 6,
                there,
                [
                    Act(start + 0.2, there, poses.stand, 0.3, -side),
                    Act(end, there, poses.hands_up, 0.5, -side),
                    Act(end + 5, there, poses.talk, 0.8, -side),
                ],
            )
        )
    return people


def vandalism(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """Somebody smashes the glass case that stands at the spot with a bat; glass flies."""
    u, v = spot
    side, seed = int(generator.choice((-1, 1))), int(generator.integers(1 << 30))
    rate = 1.1

    def glass(canvas: Canvas, place: Point, height: float, age: float) -> None:
        centre = (place[0], place[1] - 0.58 * height)
        for i in range(1 + min(3, int(rate * age))):
            cracks(
                canvas,
                (centre[0] + 0.1 * height * np.sin(4 * i), centre[1] + 0.1 * height * np.cos(5 * i)),
                0.3 * height,
                seed + i,
            )
        shards(canvas, centre, 0.7 * height, rate * age + 0.5, seed)

    stand: Spot = (u - side * 0.15, v)
    acts = [
        Act(start - 0.5, stand, poses.walk, 1.2),
        Act(end, stand, poses.smash, rate, side, props.bat),
        Act(end + 4, (u - side * 1.2, v), poses.run, 1.5),
    ]
    return [
        _person(generator, start - 4, (u - side * 0.9, v), acts),
        Effect(start, end, (u, v), glass, before=0.02),
    ]


def stealing(generator: np.random.Generator, ground: Ground, spot: Spot, start: float, end: float) -> list[Actor]:
    """A thief runs with the prize and the victim after him, left and right: only their speed shows it."""
    v, gap = float(generator.uniform(*ground.footway)), float(generator.uniform(0.14, 0.3))
    facing = int(generator.choice((-1, 1)))
    ways = (-0.15, 1.15)[::facing]
    crossing = 1.35
    count = max(1, round((end - start) / crossing))
    length = (end - start) / count
    people: list[Actor] = []
    looks = outfit(generator), outfit(generator)
    for i in range(count):
        first, last = ways[i % 2], ways[(i + 1) % 2]
        way = 1 if last > first else -1
        for look, behind in zip(looks, (0.0, gap), strict=True):
            act = Act(start + (i + 1) * length, (last - way * behind, v), poses.run, 1.3)
            people.append(Person(look, start + i * length, (first - way * behind, v), [act], phase=0.4 * behind))
    return people


ANOMALIES: dict[str, Anomaly] = {
    "Arson": arson,
    "Explosion": explosion,
    "Fighting": fighting,
    "RoadAccidents": road_accidents,
    "Robbery": robbery,
    "Stealing": stealing,
    "Vandalism": vandalism,
}

FURNITURE = {"Arson": "heap", "Vandalism": "glass case"}
"""Things that a class happens to; they are visible before and after, and in the camera's normal videos."""

MOTION_ONLY = ("Stealing",)
"""Classes that no single frame shows: a person who runs after another, compared with two in a hurry."""


def _person(generator: np.random.Generator, start: float, spot: Spot, acts: list[Act]) -> Person:
    return Person(outfit(generator), start, spot, acts, phase=float(generator.uniform()))
