"""Orientation of a video's frames: how players turn what a phone's sensor saw."""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from anomalyclip.data.frame_folder import Pixels


class Orientation(NamedTuple):
    """How players turn an encoded frame: mirrored first, left to right, then by quarter turns clockwise.

    Phones keep a video as the sensor saw it, with a display matrix that says how to show it.
    """

    mirrored: bool = False
    quarter_turns: int = 0

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the displayed frame, (height, width, 3), of an encoded one."""
        # OpenCV was three to ten times faster than copying a turned view
        if self.mirrored:
            pixels = np.asarray(cv2.flip(pixels, 1), np.uint8)
        if self.quarter_turns:
            pixels = np.asarray(cv2.rotate(pixels, _TURNS[self.quarter_turns - 1]), np.uint8)
        return pixels


_TURNS = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)


def orientation_of(frame: Any) -> Orientation:
    """Return how players turn a frame, by its display matrix; another angle is taken as the nearest quarter turn.

    The matrix puts column x and row y of the encoded frame at column a·x + c·y and row b·x + d·y.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists no side data if it does not know the kind of one of them, such as EXIF
        return Orientation(quarter_turns=round(-frame.rotation / 90) % 4)
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist() if matrix else (1, 0, 0, 0, 1)
    mirrored = a * d < b * c
    sign = -1 if mirrored else 1
    return Orientation(mirrored, round(math.atan2(sign * b, sign * a) / (math.pi / 2)) % 4)
