"""Poses of people as functions of a phase, which counts strides, blows or gestures (1 is a whole one)."""

import numpy as np

from anomalyclip.benchmark.drawing.people import Pose


def _swing(phase: float) -> float:
    return float(np.sin(2 * np.pi * phase))


def stand(phase: float) -> Pose:
    """Stand, and shift one's weight a little."""
    sway = 3 * _swing(phase)
    return Pose((sway, -sway), (10 + sway, 6), lean=0.5 * sway)


def walk(phase: float) -> Pose:
    """Walk: legs and arms swing against each other."""
    s = _swing(phase)
    bend = 18 * max(0.0, _swing(phase + 0.25))
    other = 18 * max(0.0, -_swing(phase + 0.25))
    return Pose((-26 * s, 26 * s), (-26 * s + 14, 26 * s + 14), (24 * s, -24 * s),
                (24 * s - bend, -24 * s - other), lean=4)  # fmt: skip


def run(phase: float) -> Pose:
    """Run: long strides, bent elbows, leaning forward."""
    s = _swing(phase)
    bend = 60 * max(0.0, _swing(phase + 0.25))
    other = 60 * max(0.0, -_swing(phase + 0.25))
    return Pose((-50 * s, 50 * s), (-50 * s + 80, 50 * s + 80), (44 * s + 8, -44 * s + 8),
                (44 * s - 4 - bend, -44 * s - 4 - other), lean=16, lift=0.02 * abs(s))  # fmt: skip


def talk(phase: float) -> Pose:
    """Stand and gesture with one hand."""
    s = _swing(phase)
    return Pose((18 + 14 * s, 4), (70 + 25 * s, 14), lean=2 * s)


def sit(phase: float) -> Pose:
    """Sit on something knee-high."""
    return Pose((20, 26), (70, 62 + 4 * _swing(phase)), (86, 80), (4, -4), lean=-4)


def carry(phase: float) -> Pose:
    """Walk with both arms around something in front."""
    return walk(phase)._replace(upper_arms=(28, 34), forearms=(92, 86), lean=-3)


def push(phase: float) -> Pose:
    """Walk with both arms stretched out to something that rolls."""
    return walk(phase)._replace(upper_arms=(62, 56), forearms=(74, 70), lean=12)


def reach(phase: float) -> Pose:
    """Stretch an arm out to something on a shelf or a wall."""
    return Pose((96 + 10 * _swing(phase), 5), (110 + 10 * _swing(phase), 10), lean=4)


def wave(phase: float) -> Pose:
    """Wave with a hand over the head."""
    return Pose((160, 4), (165 + 28 * _swing(phase), 8))


def stretch(phase: float) -> Pose:
    """Both arms up and apart, for a moment: yawning, cheering."""
    return Pose((158 + 6 * _swing(phase), 200 - 6 * _swing(phase)), (150, 208))


def hug(phase: float) -> Pose:
    """Arms around a person in front."""
    s = _swing(phase)
    return Pose((62 + 3 * s, 56), (104, 98 + 3 * s), lean=7 + s)


def play(phase: float) -> Pose:
    """Jump about with loose arms."""
    s = _swing(phase)
    return Pose((40 + 40 * s, 30 - 40 * s), (70 + 30 * s, 60 - 30 * s), (16 * s, -12 * s), (8 * s, -16 * s),
                lift=0.05 * abs(s))  # fmt: skip


def punch(phase: float) -> Pose:
    """Box: one fist flies out while the other guards the face."""
    s = max(0.0, _swing(phase))
    other = max(0.0, -_swing(phase))
    return Pose((35 + 62 * s, 40 + 58 * other), (140 - 48 * s, 135 - 42 * other), (30, -26), (14, -40),
                lean=10 + 14 * max(s, other))  # fmt: skip


def kick(phase: float) -> Pose:
    """Kick: one leg flies up to the front."""
    s = max(0.0, _swing(phase))
    return Pose((-30, 60), (30, 120), (20 + 70 * s, -12), (-10 + 96 * s, -12), lean=-6 - 14 * s)


def reel(phase: float) -> Pose:
    """Take a blow: thrown back, arms flying."""
    s = _swing(phase)
    return Pose((70 + 35 * s, -40 - 25 * s), (95 + 40 * s, -70), (18, -34), (30, -46), lean=-22 - 8 * s)


def aim(phase: float) -> Pose:
    """Point a weapon straight ahead with a stretched arm."""
    s = _swing(phase)
    return Pose((92 + 3 * s, 20), (92 + 3 * s, 60), (20, -20), (6, -26), lean=4)


def hands_up(phase: float) -> Pose:
    """Surrender: both hands high beside the head."""
    s = _swing(phase)
    return Pose((138 + 4 * s, 222 - 4 * s), (166 + 3 * s, 194), lean=-3)


def smash(phase: float) -> Pose:
    """Swing something long with both hands, from over the head down to the front."""
    down = 0.5 - 0.5 * float(np.cos(2 * np.pi * phase))
    angle = 200 - 130 * down
    return Pose((angle, angle - 8), (angle + 12, angle + 2), (28, -26), (10, -34), lean=-10 + 34 * down)


def crouch(phase: float) -> Pose:
    """Squat and reach for the ground."""
    s = _swing(phase)
    return Pose((48 + 8 * s, 36), (66 + 8 * s, 50), (100, 86), (-30, -36), lean=34)


def torch(phase: float) -> Pose:
    """Hold something out, low to the front, bent over it."""
    s = _swing(phase)
    return Pose((58 + 10 * s, 20), (76 + 10 * s, 40), (34, -18), (-8, -30), lean=24)


def lie(phase: float) -> Pose:
    """Lie on the back."""
    return Pose((30, -25), (40, -10), (8, -4), (14, 0), tilt=88)
