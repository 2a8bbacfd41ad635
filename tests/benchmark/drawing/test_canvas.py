"""Shapes land where they are asked for, and stay within the picture."""

import numpy as np
import pytest

from anomalyclip.benchmark.drawing import poses
from anomalyclip.benchmark.drawing.canvas import disc, glow, gradient, haze, rectangle
from anomalyclip.benchmark.drawing.effects import blast, flames
from anomalyclip.benchmark.drawing.people import Outfit, Pose, person
from anomalyclip.benchmark.drawing.vehicles import KINDS, vehicle

BLACK = (0, 0, 0)
LOOK = Outfit((200, 200, 200), (200, 200, 200), (200, 200, 200), (200, 200, 200))
POSES = [
    value for name, value in vars(poses).items() if callable(value) and not name.startswith("_") and name != "Pose"
]


def paper() -> np.ndarray:
    return np.zeros((60, 80, 3), np.uint8)


def test_a_disc_lies_round_its_centre_and_moves_by_less_than_a_pixel() -> None:
    one, moved = paper(), paper()
    disc(one, (40, 30), 10, (255, 255, 255))
    disc(moved, (40.4, 30), 10, (255, 255, 255))
    rows, columns = np.nonzero(one[..., 0] > 127)
    assert abs(columns.mean() - 40) < 0.5 and abs(rows.mean() - 30) < 0.5 and abs(len(rows) - np.pi * 100) < 40
    assert not np.array_equal(one, moved)


@pytest.mark.parametrize("centre", [(-5, 30), (85, 30), (40, -5), (40, 65), (-200, -200)])
def test_soft_shapes_may_reach_over_the_edge(centre: tuple[float, float]) -> None:
    canvas = paper()
    glow(canvas, centre, 20, (255, 255, 255))
    haze(canvas, centre, 20, (255, 255, 255), 0.5)
    assert canvas.any() == (abs(centre[0]) < 100)


def test_light_adds_up_to_white_and_no_further() -> None:
    canvas = np.full((60, 80, 3), 200, np.uint8)
    glow(canvas, (40, 30), 20, (255, 255, 255), 2)
    assert canvas[30, 40].min() == 255 and canvas.min() == 200


def test_a_gradient_runs_from_the_first_to_the_last_colour() -> None:
    canvas = paper()
    gradient(canvas, 10, 50, BLACK, (200, 100, 0))
    assert tuple(canvas[10, 0]) == BLACK and tuple(canvas[49, 0]) == (200, 100, 0) and not canvas[50:].any()


@pytest.mark.parametrize("pose", POSES, ids=lambda pose: pose.__name__)
def test_whoever_stands_touches_the_ground_and_reaches_no_higher_than_the_arms(pose: object) -> None:
    assert callable(pose)
    for phase in (0.0, 0.3, 0.7):
        canvas = np.zeros((120, 160, 3), np.uint8)
        taken: Pose = pose(phase)
        joints = person(canvas, (80, 100), 60, taken, LOOK)
        rows = np.nonzero(canvas.any(axis=(1, 2)))[0]
        assert 92 <= rows.max() <= 116 and rows.min() >= 20
        assert len(joints.hands) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_vehicle_stands_on_its_place_and_looks_where_it_drives(kind: str) -> None:
    right, left = (np.zeros((60, 80, 3), np.uint8) for _ in range(2))
    vehicle(right, (39.5, 50), 60, (200, 0, 0), facing=1, kind=kind)
    vehicle(left, (39.5, 50), 60, (200, 0, 0), facing=-1, kind=kind)
    assert abs(int(np.nonzero(right.any(axis=(1, 2)))[0].max()) - 50) <= 2
    assert np.abs(right.astype(int) - left[:, ::-1]).mean() < 6


def test_effects_change_with_time_and_are_the_same_at_the_same_time() -> None:
    pictures = [paper() for _ in range(3)]
    for canvas, time in zip(pictures, (0.5, 0.5, 0.8), strict=True):
        blast(canvas, (40, 40), 15, time, seed=3)
        flames(canvas, (20, 50), 15, 20, time)
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_a_rectangle_fills_what_lies_between_its_corners() -> None:
    canvas = paper()
    rectangle(canvas, (10, 10), (20, 30), (255, 255, 255))
    assert canvas[12:29, 12:19].min() == 255 and not canvas[:8].any()
