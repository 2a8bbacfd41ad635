"""Clips of UCSD Ped2 on disk, and their folders of frames: as published, or as often passed on with names 01, 02, …"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalyclip.data.frame_folder import frame_paths
from anomalyclip.data.schema import Anomaly

CLIPS = {"Train": 16, "Test": 12}
"""How many clips each part of the dataset has."""
PASSED_ON = {"Train": "training/frames", "Test": "testing/frames"}
"""Folders of the parts where the dataset was passed on with frame labels instead of masks."""


class Place(NamedTuple):
    """A clip's place on disk."""

    name: str
    """As published, such as `Test003`: clip 3 of its part."""
    folder: Path


class Clip(NamedTuple):
    """A clip that was read."""

    name: str
    folder: Path
    frames: int
    anomalies: list[Anomaly]


def is_passed_on(base: Path) -> bool:
    """Return whether a folder holds `training/frames/01` and so on, not `Train/Train001`."""
    return (base / PASSED_ON["Test"]).is_dir()


def places(base: Path) -> list[Place]:
    """Return where the dataset's clips must be, training clips first, each part in order."""
    numbered = [(part, number) for part, count in CLIPS.items() for number in range(1, count + 1)]
    if is_passed_on(base):
        return [Place(f"{part}{number:03d}", base / PASSED_ON[part] / f"{number:02d}") for part, number in numbered]
    return [Place(name := f"{part}{number:03d}", base / part / name) for part, number in numbered]


def others(base: Path) -> list[Path]:
    """Return the numbered folders beside the clips that are no clips of the dataset, sorted."""
    folders = [place.folder for place in places(base)]
    known = {folder.with_name(folder.name + end) for folder in folders for end in ("", "_gt")}
    parents = dict.fromkeys(folder.parent for folder in folders)
    return sorted(path for parent in parents for path in parent.glob("*[0-9]*") if path.is_dir() and path not in known)


def pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder in order; raises ValueError, which names the folder, if there are none."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: the folder is missing")
    if not (found := frame_paths(folder)):
        raise ValueError(f"{folder}: the folder holds no pictures")
    return found


def intervals(flags: Sequence[bool]) -> list[Anomaly]:
    """Return the runs of anomalous frames, 0-based and inclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]))).reshape(-1, 2).tolist()
    return [Anomaly(start=start, end=end - 1, labels=[]) for start, end in edges]
