"""Ordinary life, and moments of it that look like an anomaly for a short time.

Each function draws who takes part from a generator and returns them; times are seconds of the video.
"""

from collections.abc import Callable

import numpy as np

from anomalyclip.benchmark.drawing import poses
from anomalyclip.benchmark.drawing.canvas import glow, pick
from anomalyclip.benchmark.drawing.effects import smoke
from anomalyclip.benchmark.drawing.people import Pose, outfit
from anomalyclip.benchmark.drawing.vehicles import KINDS, PAINT
from anomalyclip.benchmark.footage import props
from anomalyclip.benchmark.footage.actors import Act, Actor, Effect, Person, Prop, Vehicle, rest
from anomalyclip.benchmark.footage.places import Ground, Spot

Scene = Callable[[np.random.Generator, Ground, float], list[Actor]]
"""Generator, ground, seconds of the video."""


def stroll(
    generator: np.random.Generator,
    ground: Ground,
    seconds: float,
    pose: Callable[[float], Pose] = poses.walk,
    prop: Prop | None = None,
) -> list[Actor]:
    """Somebody crosses the picture."""
    v = float(generator.uniform(*ground.footway))
    facing = int(generator.choice((-1, 1)))
    start = float(generator.uniform(-4, seconds - 2))
    duration = float(generator.uniform(6, 11))
    ways = (-0.2, 1.2)[::facing]
    way = Act(start + duration, (ways[1], v + float(generator.uniform(-0.08, 0.08))), pose, 1.2, prop=prop)
    return [Person(outfit(generator), start, (ways[0], v), [way], phase=float(generator.uniform()))]


def carrier(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Somebody carries a box or a bag, or pushes a trolley."""
    pose, prop = ((poses.carry, props.box), (poses.walk, props.bag), (poses.push, props.trolley))[generator.integers(3)]
    return stroll(generator, ground, seconds, pose, prop)


def bystander(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Somebody stands about, looks at a shelf, waves to a friend."""
    pose = (poses.stand, poses.stand, poses.reach, poses.wave)[generator.integers(4)]
    spot = rest(generator, ground, 0.05)
    facing = int(generator.choice((-1, 1)))
    begin, end = sorted(generator.uniform(-0.5 * seconds, 1.5 * seconds, 2))
    acts = [Act(0.5 * (begin + end), spot, poses.stand, 0.2, facing), Act(end + 4, spot, pose, 0.5, facing)]
    return [Person(outfit(generator), float(begin), spot, acts, phase=float(generator.uniform()))]


def talkers(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Two people stand and talk for a long time."""
    return _pair(generator, ground, seconds, poses.talk, poses.stand, 0.5, float(generator.uniform(8, 25)), 0.13)


def sitter(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Somebody sits on a bench."""
    spot = rest(generator, ground)
    begin = float(generator.uniform(-seconds, 0.6 * seconds))
    end = begin + float(generator.uniform(10, 30))
    acts = [Act(end, spot, poses.sit, 0.15, int(generator.choice((-1, 1))))]
    return [Effect(-1, seconds + 1, spot, props.bench, before=-0.01), Person(outfit(generator), begin, spot, acts)]


def driver(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """A vehicle drives through."""
    lane = int(generator.integers(len(ground.lanes)))
    facing = 1 if lane else -1
    start, duration = float(generator.uniform(-2, seconds)), float(generator.uniform(2.5, 6))
    return [
        _car(
            generator,
            ground,
            lane,
            start,
            start + duration,
            lambda time: facing * (-0.8 + 1.6 * (time - start) / duration) + 0.5,
            facing,
        )
    ]


def parker(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """A car drives in, stops, and drives on later; or brakes behind another car."""
    lane = int(generator.integers(len(ground.lanes)))
    facing = 1 if lane else -1
    start = float(generator.uniform(-2, 0.5 * seconds))
    stop, wait = float(generator.uniform(-0.3, 0.25)), float(generator.uniform(4, 14))
    times, places = (start, start + 3, start + 3 + wait, start + 6 + wait), (-1.0, stop, stop, 1.2)
    cars = [_car(generator, ground, lane, start, times[-1], _along(times, places, facing), facing)]
    if generator.uniform() < 0.4:
        times, places = (
            (start + 2, start + 4.5, start + 3.5 + wait, start + 7 + wait),
            (-1.3, stop - 0.5, stop - 0.5, 1.2),
        )
        cars.append(_car(generator, ground, lane, times[0], times[-1], _along(times, places, facing), facing))
    return [*cars]


def huggers(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Two people meet and hug for a moment: close together, arms out."""
    return _pair(generator, ground, seconds, poses.hug, poses.hug, 0.3, float(generator.uniform(1.5, 3)), 0.055)


def players(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Two people jump about with a ball for a moment."""
    return _pair(
        generator, ground, seconds, poses.play, poses.play, 1.0, float(generator.uniform(2, 4)), 0.16, props.ball
    )


def stretcher(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """A person stretches both arms up for a moment, as if to surrender."""
    spot, facing = rest(generator, ground), int(generator.choice((-1, 1)))
    begin = float(generator.uniform(0, seconds - 6))
    acts = [
        Act(begin + 3, spot, poses.stand, 0.3, facing),
        Act(begin + 4.5, spot, poses.stretch, 0.4, facing),
        Act(begin + 7, spot, poses.stand, 0.3, facing),
    ]
    return [Person(outfit(generator), begin, spot, acts)]


def pointer(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Somebody shows another one the way, with an umbrella in the stretched hand."""
    return _pair(
        generator, ground, seconds, poses.aim, poses.stand, 0.3, float(generator.uniform(1.5, 3)), 0.16, props.umbrella
    )


def hurriers(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Two people run at an easy pace, one following the other, late for something."""
    begin, facing = float(generator.uniform(0, max(1.0, seconds - 6))), int(generator.choice((-1, 1)))
    v, gap = float(generator.uniform(*ground.footway)), float(generator.uniform(0.14, 0.3))
    duration, ways = float(generator.uniform(4.5, 6)), (-0.15, 1.15)[::facing]
    return [
        Person(
            outfit(generator),
            begin,
            (ways[0] - facing * behind, v),
            [Act(begin + duration, (ways[1] - facing * behind, v), poses.run, 1.3)],
            phase=0.4 * behind,
        )
        for behind in (0.0, gap)
    ]


def flare(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Headlights turn towards the camera for a moment, bright as a fire."""
    begin, length = float(generator.uniform(0, seconds - 3)), float(generator.uniform(0.8, 2))
    colour = pick(generator, ((255, 236, 190), (255, 214, 150)))
    return [
        Effect(
            begin,
            begin + length,
            (float(generator.uniform(0.1, 0.9)), float(generator.uniform(0.1, 0.5))),
            lambda canvas, place, height, age: glow(
                canvas,
                (place[0], place[1] - 0.3 * height),
                0.9 * height,
                colour,
                float(np.sin(np.pi * min(1.0, age / length))),
            ),
        )
    ]


def steam(generator: np.random.Generator, ground: Ground, seconds: float) -> list[Actor]:
    """Pale steam rises from a grating or a stall for a while."""
    begin = float(generator.uniform(0, seconds - 4))
    spot = rest(generator, ground)
    return [
        Effect(
            begin,
            begin + float(generator.uniform(2, 4)),
            spot,
            lambda canvas, place, height, age: smoke(canvas, place, 0.8 * height, age, (196, 198, 200)),
        )
    ]


EVERYDAY: tuple[Scene, ...] = (stroll, stroll, stroll, carrier, bystander, talkers, sitter)
TRAFFIC: tuple[Scene, ...] = (driver, driver, parker)
LOOK_ALIKES: tuple[Scene, ...] = (huggers, players, stretcher, pointer, hurriers, steam)
NIGHT_LOOK_ALIKES: tuple[Scene, ...] = (*LOOK_ALIKES, flare, flare)


def _pair(
    generator: np.random.Generator,
    ground: Ground,
    seconds: float,
    pose: Callable[[float], Pose],
    other: Callable[[float], Pose],
    rate: float,
    length: float,
    gap: float,
    prop: Prop | None = None,
) -> list[Actor]:
    """Two people meet, do something face to face for a while, and part."""
    (u, v), begin = rest(generator, ground, 0.25), float(generator.uniform(-2, max(0.0, seconds - length - 4)))
    met, over = begin + 2.5, begin + 2.5 + length
    people: list[Actor] = []
    for side, does, holds in ((-1, pose, prop), (1, other, None)):
        spot: Spot = (u + side * gap / 2, v)
        away: Spot = (u + side * float(generator.uniform(0.9, 1.2)), v + float(generator.uniform(-0.05, 0.05)))
        came: Spot = (u + side * 0.7, v)
        acts = [
            Act(met, spot, poses.walk, 1.2),
            Act(over, spot, does, rate, -side, holds),
            Act(over + float(generator.uniform(5, 8)), away, poses.walk, 1.2),
        ]
        people.append(Person(outfit(generator), begin, came, acts, phase=float(generator.uniform())))
    return people


def _along(times: tuple[float, ...], places: tuple[float, ...], facing: int) -> Callable[[float], float]:
    return lambda time: 0.5 + facing * float(np.interp(time, times, places))


def _car(
    generator: np.random.Generator,
    ground: Ground,
    lane: int,
    start: float,
    end: float,
    along: Callable[[float], float],
    facing: int,
) -> Vehicle:
    kind = KINDS[int(generator.choice(3, p=(0.75, 0.17, 0.08)))]
    length = {"car": 1.6, "van": 1.7, "bus": 2.6}[kind]
    return Vehicle(start, end, ground.lanes[lane], along, pick(generator, PAINT), kind, facing, length, lights=0.55)
