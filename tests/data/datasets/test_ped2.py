"""UCSD Ped2: divided anew by seed, with intervals out of the masks."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from anomalyclip.data.datasets.ped2 import ped2
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.errors import UsageError

MASKS = [0, 0, 255, 1, 0, 7]
"""The brightest pixel of each frame's mask."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in of Ped2: 16 + 12 clips of 6 frames, as the dataset lays them out."""
    root = tmp_path_factory.mktemp("ped2") / "data"
    picture = cv2.imencode(".tif", np.zeros((8, 8), np.uint8))[1].tobytes()
    masks = [cv2.imencode(".bmp", np.diag([0, 0, 0, value]).astype(np.uint8))[1].tobytes() for value in MASKS]
    clips = [("Train", number) for number in range(1, 17)] + [("Test", number) for number in range(1, 13)]
    for part, number in clips:
        folder = root / "UCSDped2" / part / f"{part}{number:03d}"
        folder.mkdir(parents=True)
        for frame in range(1, 7):
            (folder / f"{frame:03d}.tif").write_bytes(picture)
        (folder / "._001.tif").write_bytes(b"left by macOS")
        if part == "Test":
            (gt := folder.with_name(f"{folder.name}_gt")).mkdir()
            for frame, mask in enumerate(masks, start=1):
                (gt / f"frame{frame:03d}.bmp").write_bytes(mask)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "data"))


def manifest_of(root: Path, seed: int) -> pl.DataFrame:
    write_manifest(ped2(root, seed).table, root / "manifest.csv")
    return load_manifest(root / "manifest.csv")


def faults_of(root: Path, seed: int | None = 1) -> list[str]:
    with pytest.raises(UsageError) as raised:
        ped2(root, seed)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


@pytest.mark.parametrize("below", [".", "UCSDped2"])
def test_half_of_each_kind_is_tested_and_intervals_are_those_of_the_masks(whole: Path, below: str) -> None:
    df = manifest_of(whole / below, seed=4)
    counts = {(len(labels), split): n for labels, split, n in df.group_by("labels", "split").len().iter_rows()}
    assert counts == {(0, "train"): 8, (0, "test"): 8, (1, "train"): 6, (1, "test"): 6}
    assert set(df["labels"].explode().drop_nulls()) == {"Anomaly"}
    assert df["num_frames"].to_list() == [6] * 28
    tested = df.filter((pl.col("split") == "test") & (pl.col("labels").list.len() > 0))
    found = [[(i["start"], i["end"]) for i in row] for row in tested["anomalies"]]
    assert found == [[(2, 3), (5, 5)]] * 6
    assert df.filter(split="train")["anomalies"].list.len().sum() == 0


def test_the_division_follows_the_seed(whole: Path) -> None:
    first, again, other = (set(manifest_of(whole, seed).filter(split="test")["video_id"]) for seed in (4, 4, 5))
    assert first == again != other


def test_a_clip_whose_masks_are_empty_is_normal(root: Path) -> None:
    masks = root / "UCSDped2/Test/Test004_gt"
    for mask in masks.iterdir():
        mask.write_bytes((masks / "frame001.bmp").read_bytes())
    row = manifest_of(root, 4).row(by_predicate=pl.col("video_id") == "Test004", named=True)
    assert row["labels"] == []


def test_the_new_division_must_be_asked_for_and_is_told(whole: Path) -> None:
    (fault,) = faults_of(whole, seed=None)
    assert "no anomalous training videos" in fault and "--seed N" in fault
    notes = ped2(whole, 4).notes
    assert notes[0] == "split by seed: 14 training videos, 14 test videos"
    assert notes[1].startswith("intervals of 6 training video(s) left out")
    assert "not comparable" in notes[2]


def test_every_fault_of_a_damaged_tree_is_told_at_once(root: Path) -> None:
    base = root / "UCSDped2"
    shutil.rmtree(base / "Train/Train003")
    shutil.rmtree(base / "Test/Test002_gt")
    (base / "Test/Test005/006.tif").unlink()
    (base / "Test/Test007_gt/frame002.bmp").write_bytes(b"")
    shutil.rmtree(base / "Test/Test009")
    (base / "Test/Test009").mkdir()
    (base / "Train/Train017").mkdir()
    assert faults_of(root) == [
        "UCSDped2/Train/Train003: the folder is missing",
        "UCSDped2/Test/Test002_gt: the folder is missing",
        "UCSDped2/Test/Test005: 5 frames but 6 masks: their numbers must be equal",
        "UCSDped2/Test/Test007_gt/frame002.bmp: not a whole picture",
        "UCSDped2/Test/Test009: the folder holds no pictures",
        "UCSDped2/Train/Train017: not one of the dataset's clips: remove it",
    ]


def test_what_is_not_ped2_is_refused_clip_by_clip(tmp_path: Path) -> None:
    assert faults_of(tmp_path)[0] == "Train/Train001: the folder is missing"
