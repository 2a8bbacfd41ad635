"""Pictures of every class and every place side by side, to look at."""

from pathlib import Path

import cv2
import numpy as np

from anomalyclip.benchmark.drawing.canvas import Canvas
from anomalyclip.benchmark.footage.anomalies import ANOMALIES
from anomalyclip.benchmark.footage.camera import WIDTH
from anomalyclip.benchmark.footage.places import PLACES
from anomalyclip.benchmark.footage.videos import FULL, Clip, frame, plan
from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError

COLUMNS = 4
CAPTION = 14


def contact_sheet(seed: int = 0) -> Canvas:
    """Return a row of frames per class, from the middle of test anomalies, and rows with one frame per place."""
    clips = plan(FULL, seed)
    rows = [_row(label, _of_class(clips, label)) for label in ANOMALIES]
    normal = [next(clip for clip in clips if clip.place == place and clip.label == NORMAL) for place in PLACES]
    half = len(normal) // 2
    width = max(COLUMNS, half)
    rows += [_row(", ".join(clip.place for clip in part), part) for part in (normal[:half], normal[half:])]
    return np.concatenate([_padded(row, width) for row in rows])


def save(path: Path, seed: int = 0) -> None:
    """Write the contact sheet as a picture; raises UsageError if it cannot be written."""
    try:
        written = cv2.imwrite(str(path), contact_sheet(seed)[..., ::-1])
    except cv2.error:
        written = False
    if not written:
        raise UsageError(f"contact sheet {path} cannot be written: give a .png or .jpg in a folder that exists")


def _of_class(clips: list[Clip], label: str) -> list[Clip]:
    ordered = sorted((clip for clip in clips if clip.label == label), key=lambda clip: clip.split != "test")
    return ordered[:COLUMNS]


def _row(caption: str, clips: list[Clip]) -> Canvas:
    pictures = np.concatenate([frame(clip, _middle(clip)) for clip in clips], axis=1)
    title = np.full((CAPTION, pictures.shape[1], 3), 255, np.uint8)
    cv2.putText(title, caption, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([title, pictures])


def _middle(clip: Clip) -> int:
    start, end = clip.anomalies[0] if clip.anomalies else (0, clip.num_frames - 1)
    return (start + end) // 2


def _padded(row: Canvas, columns: int) -> Canvas:
    missing = columns * WIDTH - row.shape[1]
    return np.pad(row, ((0, 0), (0, missing), (0, 0)), constant_values=255)
