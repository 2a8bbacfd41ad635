"""UCSD Ped2 as it is often passed on: numbered folders of frames, and labels of frames in an array file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from scipy.io import savemat

from anomalyclip.data.datasets.ped2 import ped2
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.errors import UsageError

LABELS = [np.array([0, 0, 1, 1, 0, 1])] * 11 + [np.array([0, 0, 0, 0])]
"""Of the twelve test clips; the last one is normal, and shorter."""
Write = Callable[[Path, list[np.ndarray]], Path]


def as_array(root: Path, labels: list[np.ndarray]) -> Path:
    np.save(root / "frame_labels_ped2.npy", np.concatenate(labels)[None])
    return root / "frame_labels_ped2.npy"


def as_masks(root: Path, labels: list[np.ndarray]) -> Path:
    folder = root / "testing/test_frame_mask"
    folder.mkdir()
    for number, own in enumerate(labels, start=1):
        np.save(folder / f"{number:02d}.npy", own.astype(np.uint8))
    return folder


def as_intervals(root: Path, labels: list[np.ndarray]) -> Path:
    cells = np.empty((1, len(labels)), dtype=object)
    for number, own in enumerate(labels):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], own, [0]]))).reshape(-1, 2).T
        cells[0, number] = edges + np.array([[1], [0]])  # first and last frame, counted from 1
    savemat(root / "ped2.mat", {"gt": cells})
    return root / "ped2.mat"


def as_matlab_array(root: Path, labels: list[np.ndarray]) -> Path:
    savemat(root / "testing/ped2.mat", {"labels": np.concatenate(labels)})
    return root / "testing/ped2.mat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """16 training clips of 6 frames and 12 test clips, without labels."""
    picture = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    clips = [("training", number, 6) for number in range(1, 17)]
    clips += [("testing", number, len(own)) for number, own in enumerate(LABELS, start=1)]
    for part, number, frames in clips:
        folder = tmp_path / f"ped2/{part}/frames/{number:02d}"
        folder.mkdir(parents=True)
        for frame in range(frames):
            (folder / f"{frame:03d}.jpg").write_bytes(picture)
    return tmp_path / "ped2"


def faults_of(root: Path) -> list[str]:
    with pytest.raises(UsageError) as raised:
        ped2(root, 1)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


@pytest.mark.parametrize("write", [as_array, as_masks, as_intervals, as_matlab_array])
@pytest.mark.parametrize("above", [False, True])
def test_labels_of_frames_become_intervals(root: Path, write: Write, above: bool) -> None:
    source = write(root, LABELS)
    given = root.parent if above else root
    made = ped2(given, 4)
    write_manifest(made.table, given / "manifest.csv")
    df = load_manifest(given / "manifest.csv")
    counts = {(len(labels), split): n for labels, split, n in df.group_by("labels", "split").len().iter_rows()}
    assert counts == {(0, "train"): 9, (0, "test"): 8, (1, "train"): 5, (1, "test"): 6}
    tested = df.filter((pl.col("split") == "test") & (pl.col("labels").list.len() > 0))
    assert [[(i["start"], i["end"]) for i in row] for row in tested["anomalies"]] == [[(2, 3), (5, 5)]] * 6
    last = df.row(by_predicate=pl.col("video_id") == "Test012", named=True)
    assert (last["labels"], last["num_frames"], last["path"][-17:]) == ([], 4, "testing/frames/12")
    assert made.notes[-1] == f"anomalous frames are those of {source.relative_to(given)}"


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros(69), "frame_labels_ped2.npy: (69,) labels for 70 frames: their numbers must be equal"),
        (np.zeros((7, 10)), "frame_labels_ped2.npy: (7, 10) labels for 70 frames: their numbers must be equal"),
        (np.full(70, 2), "frame_labels_ped2.npy: holds other values than 0 and 1"),
        (np.array([{}] * 70), "frame_labels_ped2.npy: no plain .npy array: "),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_line(root: Path, array: Any, complaint: str) -> None:
    np.save(root / "frame_labels_ped2.npy", array, allow_pickle=True)
    (fault,) = faults_of(root)
    assert fault.startswith(complaint)


def test_intervals_that_do_not_fit_are_refused_in_one_line(root: Path) -> None:
    as_intervals(root, LABELS[:11])
    assert faults_of(root) == ["ped2.mat: intervals of 11 clips for 12 clips"]
    as_intervals(root, [*LABELS[:11], np.array([0, 0, 0, 0, 1])])
    assert faults_of(root) == ["ped2.mat: clip 12: interval 5-5 lies outside frames 1-4"]
    savemat(root / "ped2.mat", {"a": [1], "b": [2]})
    assert faults_of(root) == ["ped2.mat: holds a, b, not `gt` or one array"]
    (root / "ped2.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    (fault,) = faults_of(root)
    assert fault.startswith("ped2.mat: not readable as MATLAB's format: ")


def test_missing_labels_frames_and_masks_are_named(root: Path) -> None:
    (fault,) = faults_of(root)
    assert fault.endswith(
        "no frame labels: neither testing/test_frame_mask/01.npy, nor frame_labels_ped2.npy, nor ped2.mat"
    )
    (as_masks(root, LABELS) / "03.npy").unlink()
    assert faults_of(root) == ["testing/test_frame_mask/03.npy: the file is missing"]
    for picture in (root / "training/frames/05").iterdir():
        picture.unlink()
    (root / "testing/frames/13").mkdir()
    assert faults_of(root) == [
        "training/frames/05: the folder holds no pictures",
        "testing/frames/13: not one of the dataset's clips: remove it",
    ]
