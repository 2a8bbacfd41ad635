"""UCSD Ped2: folders of frames. Its training part is all normal, so it is split again for weak supervision."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anomalyclip.data.datasets.media import manifest_path
from anomalyclip.data.datasets.result import DatasetManifest, dataset_manifest, raise_faults
from anomalyclip.data.frame_folder import PictureError, frame_paths, read_picture
from anomalyclip.data.schema import Anomaly
from anomalyclip.data.splits import keyed_part

ANOMALY = "Anomaly"
CLIPS = {"Train": 16, "Test": 12}
"""How many clips each folder of the dataset has; clip 3 of `Test` is `Test003`, its masks `Test003_gt`."""
TEST_FRACTION = 0.5

NO_SEED = (
    "Ped2 has no anomalous training videos, and learning from video labels needs both kinds: --seed N makes another "
    "split, in which half of the anomalous clips train by their label alone. Its figures are not those of Ped2's own "
    "protocol"
)


class _Clip(NamedTuple):
    path: Path
    frames: int
    anomalies: list[Anomaly]


def ped2(root: Path, seed: int | None = None) -> DatasetManifest:
    """Return a manifest of UCSDped2 in which half of the anomalous and of the normal clips are test videos, by seed.

    `root` is the folder that holds `Train` and `Test`, or one above it. A frame is anomalous if its mask has a
    pixel that is not zero. Raises one UsageError with everything that is wrong, including a missing seed.
    """
    faults = [NO_SEED] if seed is None else []
    clips = list[_Clip]()
    base = _base(root)
    for folder in _clip_folders(base):
        try:
            clips.append(_read(folder))
        except (ValueError, PictureError) as error:
            faults.append(str(error).replace(f"{root}/", ""))
    faults += [f"{path.relative_to(root)}: not one of the dataset's clips: remove it" for path in _extra(base)]
    raise_faults(root, faults)
    test = _test_ids(clips, seed or 0)
    rows = [_row(clip, clip.path.name in test, root) for clip in clips]
    return dataset_manifest(rows, _notes(clips, test))


def _base(root: Path) -> Path:
    """Return the folder that holds `Train` and `Test`; the root if there is none."""
    candidates = (root, root / "UCSDped2", root / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2")
    return next((base for base in candidates if (base / "Test").is_dir()), root)


def _clip_folders(base: Path) -> list[Path]:
    return [base / part / f"{part}{number:03d}" for part, count in CLIPS.items() for number in range(1, count + 1)]


def _extra(base: Path) -> list[Path]:
    known = {path.with_name(path.name + end) for path in _clip_folders(base) for end in ("", "_gt")}
    return sorted(
        path for part in CLIPS for path in (base / part).glob("*[0-9]*") if path.is_dir() and path not in known
    )


def _read(folder: Path) -> _Clip:
    """Return a clip and its anomalous frames; raises ValueError and PictureError, which name the place."""
    frames = _pictures(folder)
    if folder.parent.name == "Train":
        return _Clip(folder, len(frames), [])
    masks = _pictures(folder.with_name(f"{folder.name}_gt"))
    if len(masks) != len(frames):
        raise ValueError(f"{folder}: {len(frames)} frames but {len(masks)} masks: their numbers must be equal")
    return _Clip(folder, len(frames), _intervals([bool(read_picture(mask).any()) for mask in masks]))


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: the folder is missing")
    if not (found := frame_paths(folder)):
        raise ValueError(f"{folder}: the folder holds no pictures")
    return found


def _intervals(flags: Sequence[bool]) -> list[Anomaly]:
    """Return the runs of anomalous frames, 0-based and inclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]))).reshape(-1, 2).tolist()
    return [Anomaly(start=start, end=end - 1, labels=[]) for start, end in edges]


def _test_ids(clips: Sequence[_Clip], seed: int) -> set[str]:
    chosen = list[str]()
    for anomalous in (True, False):
        ids = [clip.path.name for clip in clips if bool(clip.anomalies) == anomalous]
        chosen += keyed_part(ids, TEST_FRACTION, seed, len(ids) - 1)
    return set(chosen)


def _row(clip: _Clip, is_test: bool, root: Path) -> dict[str, Any]:
    return {
        "video_id": clip.path.name,
        "path": manifest_path(clip.path, root),
        "split": "test" if is_test else "train",
        "labels": [ANOMALY] if clip.anomalies else [],
        "anomalies": clip.anomalies if is_test else [],
        "num_frames": clip.frames,
    }


def _notes(clips: Sequence[_Clip], test: set[str]) -> Iterator[str]:
    trained = sum(bool(clip.anomalies) and clip.path.name not in test for clip in clips)
    yield f"split by seed: {len(clips) - len(test)} training videos, {len(test)} test videos"
    yield f"intervals of {trained} training video(s) left out: training uses their labels alone"
    yield "figures on this split are not comparable with those published for Ped2"
