"""Annotated copies of videos: the scores as a moving graph, the class, and a frame around the picture in an event."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyclip.data.frame_folder import Pixels
from anomalyclip.data.video import TimedFrame
from anomalyclip.data.video_writer import video_writer
from anomalyclip.events.detection import DoubleArray, OperatingPoint, smooth
from anomalyclip.events.event import Event, Track

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {"alert": (230, 50, 40), "detection": (245, 170, 30)}
"""RGB of each severity."""
CURVE, LINE, TEXT = (90, 200, 250), (150, 150, 150), (255, 255, 255)
BAR_SHARE = 0.16
"""Height of the graph, of the picture's."""
WINDOW = 20.0
"""Seconds of scores that the graph shows, the present in the middle."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(
    frames: Iterable[TimedFrame], target: Path, track: Track, events: Sequence[Event], point: OperatingPoint
) -> None:
    """Write an H.264 copy of a video, with the same frames at the same times, and its events burnt in.

    The graph shows the smoothed scores and the threshold of detections. The copy appears once it is whole.
    """
    scores = smooth(track.scores, track.edges, point.events.smoothing)
    middles = (track.edges[:-1] + track.edges[1:]) / 2
    by_frame = np.full(len(scores), -1)
    for number, event in enumerate(events):
        by_frame[event.start_frame : event.end_frame + 1] = number
    with video_writer(target) as writer:
        for index, frame in enumerate(frames):
            place = min(index, len(scores) - 1)
            picture = np.ascontiguousarray(frame.pixels())
            _draw_scores(picture, float(middles[place]), scores, middles, point.detection)
            if by_frame[place] >= 0:
                _draw_event(picture, events[by_frame[place]])
            writer.write(picture, frame.seconds)


def _draw_event(picture: Pixels, event: Event) -> None:
    height, width = picture.shape[:2]
    colour, thickness = COLOURS[event.severity], max(2, height // 80)
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), colour, 2 * thickness)  # half of a line is outside
    # OpenCV's letters are ASCII
    text = f"{event.label.encode('ascii', 'replace').decode()} {event.share:.0%}"
    scale = height / 480
    (text_width, text_height), below = cv2.getTextSize(text, FONT, scale, thickness // 2 or 1)
    corner = (2 * thickness + text_width, 3 * thickness + text_height + below)
    cv2.rectangle(picture, (thickness, thickness), corner, colour, cv2.FILLED)
    cv2.putText(
        picture, text, (2 * thickness, 2 * thickness + text_height), FONT, scale, TEXT, thickness // 2 or 1, cv2.LINE_AA
    )


def _draw_scores(picture: Pixels, now: float, scores: DoubleArray, middles: DoubleArray, threshold: float) -> None:
    """Draw the graph over the bottom of the picture: time to the right, scores 0 to 1 upwards."""
    height, width = picture.shape[:2]
    top = height - max(12, round(height * BAR_SHARE))
    picture[top:] //= 3  # dark, and what is behind it can still be seen
    _polyline(picture, np.array([0, width - 1]), _rows(np.full(2, threshold), top, height), LINE)
    times = now + WINDOW * (np.arange(width) / max(1, width - 1) - 0.5)
    known = (times >= middles[0]) & (times <= middles[-1])
    if known.any():
        rows = _rows(np.interp(times[known], middles, scores), top, height)
        _polyline(picture, np.flatnonzero(known), rows, CURVE)
    cv2.line(picture, (width // 2, top), (width // 2, height - 1), TEXT, 1)


def _rows(scores: DoubleArray, top: int, height: int) -> NDArray[np.int64]:
    return np.round(height - 2 - scores * (height - top - 3)).astype(np.int64)


def _polyline(picture: Pixels, columns: NDArray[np.int64], rows: NDArray[np.int64], colour: Colour) -> None:
    points = np.stack([columns, rows], axis=1).astype(np.int32)
    cv2.polylines(picture, [points], False, colour, max(1, picture.shape[0] // 300), cv2.LINE_AA)
