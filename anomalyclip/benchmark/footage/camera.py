"""A fixed camera: its place, by day or night, and the effects of its lens, sensor and clock."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyclip.benchmark.drawing.canvas import Canvas, glow
from anomalyclip.benchmark.footage.places import PLACES, Ground, Spot

WIDTH, HEIGHT = 160, 120
NOISE_FRAMES = 16
CAMERA_STREAM = 11
"""Marks the random draws of cameras."""

_GRID = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")


@dataclass(frozen=True, eq=False)
class Camera:
    """Everything that stays the same in a camera's videos."""

    night: bool
    background: Canvas
    """The empty place under daylight, (height, width, 3)."""
    ground: Ground
    stage: Spot
    """Spot of its furniture and of anomalies: in the near part of the picture, not at its sides."""
    light: NDArray[np.float32]
    """Share of the light that arrives, (height, width, 3): tint, lamps at night, darker corners."""
    monochrome: bool
    lens: tuple[NDArray[np.float32], NDArray[np.float32]]
    """Source of each pixel: tilt, zoom and barrel distortion."""
    grain: NDArray[np.int16]
    """Sensor noise of a few frames, (noise frames, height, width, 3)."""
    clock: tuple[int, int, int]
    """Column, row and start of the burnt-in clock in seconds of the day."""

    def develop(self, scene: Canvas, frame: int, seconds: float) -> Canvas:
        """Return a scene drawn under daylight as the camera delivers it."""
        picture = cv2.multiply(scene, self.light, dtype=cv2.CV_8U)
        if self.monochrome:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        picture = cv2.remap(picture, *self.lens, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        picture = cv2.add(picture, self.grain[(frame * 7) % NOISE_FRAMES], dtype=cv2.CV_8U)
        column, row, start = self.clock
        now = int(start + seconds)
        text = f"{now // 3600 % 24:02d}:{now // 60 % 60:02d}:{now % 60:02d}"
        cv2.putText(picture, text, (column, row), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (235, 235, 235), 1)
        return np.asarray(picture, np.uint8)


def camera(place: str, seed: int) -> Camera:
    """Return the camera of a seed at a kind of place; the same seed gives the same camera."""
    generator = np.random.default_rng([seed, CAMERA_STREAM])
    night = bool(generator.uniform() < PLACES[place].nights)
    background = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ground = PLACES[place].paint(background, generator)
    far, near = ground.footway
    stage = float(generator.uniform(0.3, 0.7)), float(generator.uniform(0.3 * far + 0.7 * near, near))
    if generator.uniform() < 0.5:
        background = np.ascontiguousarray(background[:, ::-1])
    sigma = generator.uniform(4, 9) if night else generator.uniform(2, 5)
    grain = generator.normal(0, sigma, (NOISE_FRAMES, HEIGHT, WIDTH, 3)).astype(np.int16)
    return Camera(
        night=night,
        background=background,
        ground=ground,
        stage=stage,
        light=_light(generator, night, PLACES[place].indoors),
        monochrome=bool(generator.uniform() < (0.25 if night else 0.05)),
        lens=_lens(generator),
        grain=grain,
        clock=(int(generator.choice((3, 92))), int(generator.choice((9, 116))), int(generator.integers(86400))),
    )


def _light(generator: np.random.Generator, night: bool, indoors: bool) -> NDArray[np.float32]:
    tint = generator.uniform(0.88, 1.08, 3)
    level = generator.uniform(0.45, 0.65) if night else generator.uniform(0.75, 1.08)
    rows, columns = _GRID
    corners = 1 - generator.uniform(0.05, 0.3) * (rows**2 + columns**2) / 2
    light = np.multiply.outer(level * corners, tint)
    if night:
        light *= (0.9, 0.96, 1.12)
        for x, y in generator.uniform((0.1, 0.3), (0.9, 0.9), (2, 2)):
            pool = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            glow(pool, (x * WIDTH, y * HEIGHT), 0.5 * WIDTH, (255, 232, 188))
            light += pool * (0.45 / 255)
    elif indoors:
        light *= (1.03, 1.0, 0.94)
    return light.astype(np.float32)


def _lens(generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    tilt, zoom = np.radians(generator.uniform(-5, 5)), generator.uniform(0.88, 1.0)
    barrel = generator.uniform(0.0, 0.1)
    y, x = _GRID
    stretch = zoom * (1 + barrel * ((x**2 + y**2) - 1))
    across = stretch * (x * np.cos(tilt) * WIDTH / HEIGHT - y * np.sin(tilt)) * HEIGHT / WIDTH
    down = stretch * (x * np.sin(tilt) * WIDTH / HEIGHT + y * np.cos(tilt))
    return ((across + 1) * (WIDTH - 1) / 2).astype(np.float32), ((down + 1) * (HEIGHT - 1) / 2).astype(np.float32)
