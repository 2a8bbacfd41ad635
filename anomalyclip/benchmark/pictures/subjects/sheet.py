"""Sheet of an illustration, with its random generator and colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, ellipse, line, pick, polygon
from anomalyclip.benchmark.drawing.people import Joints, Outfit, Pose, person

INK: Colour = (38, 32, 40)
BRIGHT: tuple[Colour, ...] = (
    (236, 72, 72),
    (66, 140, 236),
    (250, 190, 50),
    (84, 188, 104),
    (168, 96, 214),
    (244, 132, 60),
    (60, 190, 196),
    (240, 120, 170),
    (250, 246, 236),
    (70, 76, 96),
    (158, 110, 72),
)
CARTOON_SKIN: tuple[Colour, ...] = ((255, 214, 178), (238, 180, 132), (186, 126, 84), (124, 84, 58))
CARTOON_HAIR: tuple[Colour, ...] = ((44, 34, 30), (120, 72, 36), (236, 190, 90), (190, 84, 40), (170, 170, 176))

Paint = Callable[["Sheet", float, float, float], None]
"""Sheet, x, y, size."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """Tools of an illustration: the canvas, the random generator, and the ink of outlines."""

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
        """Draw a person at one moment of a pose."""
        return person(self.canvas, (x, y), size, pose(self.uniform(0, 1)), look or self.outfit(), facing)

    def outfit(self) -> Outfit:
        return Outfit(
            pick(self.generator, CARTOON_SKIN),
            pick(self.generator, CARTOON_HAIR),
            self.colour(),
            self.colour(),
            self.uniform(0.9, 1.5),
            self.ink,
            self.uniform(1.0, 1.7),
        )
