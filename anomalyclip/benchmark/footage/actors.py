"""Moving things in front of a camera: people who follow a script, vehicles and others, as functions of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, Point, haze
from anomalyclip.benchmark.drawing.people import Joints, Outfit, Pose, person
from anomalyclip.benchmark.drawing.vehicles import vehicle
from anomalyclip.benchmark.footage.places import Ground, Spot

Prop = Callable[[Canvas, Joints, float, float, int], None]
"""Draws what somebody holds: canvas, joints, height in pixels, phase, facing."""


class Act(NamedTuple):
    """An action until a time, on the way to a spot."""

    until: float
    """Seconds from the start of the video."""
    spot: Spot
    pose: Callable[[float], Pose]
    rate: float = 1.0
    """Strides, blows or gestures per second."""
    facing: int = 0
    """1 right, -1 left, 0 in the direction of the way."""
    prop: Prop | None = None


@dataclass(frozen=True)
class Person:
    """A person who follows a script; visible from `start` to the end of the last act."""

    look: Outfit
    start: float
    spot: Spot
    acts: Sequence[Act]
    size: float = 1.0
    phase: float = 0.0

    @property
    def end(self) -> float:
        return self.acts[-1].until

    def draw(self, canvas: Canvas, ground: Ground, time: float) -> None:
        act, (u, v), facing = self._now(time)
        feet, height = ground.at(u, v), self.size * ground.person(v)
        haze(canvas, (feet[0], feet[1] - 1), 0.28 * height, (20, 20, 22), 0.35)
        phase = self.phase + act.rate * time
        joints = person(canvas, feet, height, act.pose(phase), self.look, facing)
        if act.prop is not None:
            act.prop(canvas, joints, height, phase, facing)

    def depth(self, time: float) -> float:
        return self._now(time)[1][1]

    def _now(self, time: float) -> tuple[Act, Spot, int]:
        since, origin = self.start, self.spot
        for act in self.acts:
            if time <= act.until or act is self.acts[-1]:
                break
            since, origin = act.until, act.spot
        share = min(1.0, max(0.0, (time - since) / max(1e-6, act.until - since)))
        u, v = (a + (b - a) * share for a, b in zip(origin, act.spot, strict=True))
        return act, (u, v), act.facing or (1 if act.spot[0] >= origin[0] else -1)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle whose place along its lane and state are functions of time."""

    start: float
    end: float
    lane: float
    """Depth v."""
    along: Callable[[float], float]
    """Time to u."""
    paint: Colour
    kind: str = "car"
    facing: int = 1
    length: float = 1.5
    """In heights of a person at its depth."""
    lights: float = 0.0
    tilt: Callable[[float], float] = field(default=lambda time: 0.0)
    dent: Callable[[float], float] = field(default=lambda time: 0.0)

    def draw(self, canvas: Canvas, ground: Ground, time: float) -> None:
        place = ground.at(self.along(time), self.lane)
        length = self.length * ground.person(self.lane)
        haze(canvas, (place[0], place[1] - 1), 0.55 * length, (16, 16, 18), 0.3)
        vehicle(canvas, place, length, self.paint, self.facing, self.kind, self.tilt(time), self.dent(time),
                lights=self.lights)  # fmt: skip

    def depth(self, time: float) -> float:
        return self.lane


@dataclass(frozen=True)
class Effect:
    """Anything else that is drawn at a spot: fire, smoke, things; `paint` gets the place, a person's height
    there in pixels, and the seconds since its start."""

    start: float
    end: float
    spot: Spot
    paint: Callable[[Canvas, Point, float, float], None]
    before: float = 0.01
    """Distance in front of its spot at which it is drawn."""

    def draw(self, canvas: Canvas, ground: Ground, time: float) -> None:
        self.paint(canvas, ground.at(*self.spot), ground.person(self.spot[1]), time - self.start)

    def depth(self, time: float) -> float:
        return self.spot[1] + self.before


Actor = Person | Vehicle | Effect


def draw_scene(canvas: Canvas, actors: Sequence[Actor], ground: Ground, time: float) -> None:
    """Draw everything that is visible at a time, the farthest first."""
    there = [actor for actor in actors if actor.start <= time < actor.end]
    for actor in sorted(there, key=lambda actor: actor.depth(time)):
        actor.draw(canvas, ground, time)


def rest(generator: np.random.Generator, ground: Ground, margin: float = 0.15) -> Spot:
    """Draw a spot of the footway that is well in the picture."""
    return float(generator.uniform(margin, 1 - margin)), float(generator.uniform(*ground.footway))
