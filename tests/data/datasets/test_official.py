"""How the official adapters read a tree: which of several places counts, and whose frames are held against what."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from anomalyclip.data.datasets.official import official
from anomalyclip.data.datasets.official_lists import Row, official_list
from anomalyclip.errors import UsageError
from tests.shortened import shorten

FRAMES = {row["video_id"]: row["num_frames"] for row in official_list("ucf-crime")[0]}
NAMED = (
    "Abuse001_x264", "Abuse002_x264", "Arson001_x264", "Arrest001_x264", "Arrest002_x264", "Arson011_x264",
    "Normal_Videos_003_x264", "Normal_Videos001_x264",
)  # fmt: skip
"""Videos that tests speak of."""


def listed(video: Path) -> int:
    """Stands in for looking into a video of UCF-Crime: its official number."""
    return FRAMES[video.stem]


def place_of(row: Row) -> str:
    part = "Training" if row["split"] == "train" else "Testing"
    return row["labels"][0] if row["labels"] else f"{part}_Normal_Videos_Anomaly"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """A fiftieth of UCF-Crime's list."""
    return shorten(monkeypatch, "ucf-crime", NAMED, every=50)


@pytest.fixture
def ucf(tmp_path: Path, rows: list[Row]) -> Path:
    """A tree of it."""
    for row in rows:
        folder = tmp_path / "ucf" / place_of(row)
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"{row['video_id']}.mp4").touch()
    return tmp_path / "ucf"


def stand_ins(root: Path, rows: list[Row], end: str) -> Path:
    root.mkdir(exist_ok=True)
    for row in rows:
        (root / f"{row['video_id']}{end}").touch()
    return root


def path_in(table: pl.DataFrame, video_id: str) -> str:
    return str(table.filter(video_id=video_id)["path"].item())


def faults_of(root: Path, count: Callable[[Path], int] = listed, tolerance: int = 0) -> list[str]:
    with pytest.raises(UsageError) as raised:
        official("ucf-crime", root, tolerance, count=count)
    return [line.strip() for line in str(raised.value).splitlines()]


def test_every_fault_of_a_tree_is_in_one_message(ucf: Path) -> None:
    (ucf / "Abuse/Abuse001_x264.mp4").unlink()
    (ucf / "Abuse/Abuse002_x264.mp4").rename(ucf / "Abuse/abuse002_X264.MP4")
    (ucf / "Arson/mine.avi").touch()
    (ucf / "Arson/Arson001_x264.mkv").touch()
    longer = {"Arrest001_x264": 3, "Arrest002_x264": -2}
    lines = faults_of(ucf, lambda video: listed(video) + longer.get(video.stem, 0), tolerance=1)
    assert lines[0].endswith(
        "has 6 fault(s) (1 missing, 1 in other case, 1 there twice, 1 in no list, 1 shorter, 1 longer; "
        "decoders differ by a frame or two, which --frame-tolerance N allows; --allow-missing leaves out the missing "
        "ones):"
    )
    assert lines[1:] == [
        "Abuse001_x264 is missing",
        "Abuse002_x264 is there in other case, as Abuse/abuse002_X264.MP4: rename it",
        "Arson001_x264 is there as Arson/Arson001_x264.mkv, Arson/Arson001_x264.mp4: remove all but one",
        "Arson/mine.avi is in no list: remove it",
        f"Arrest002_x264 has {FRAMES['Arrest002_x264'] - 2} frames, 2 fewer than in its list "
        f"({FRAMES['Arrest002_x264']})",
        f"Arrest001_x264 has {FRAMES['Arrest001_x264'] + 3} frames, 3 more than in its list "
        f"({FRAMES['Arrest001_x264']})",
    ]


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_difference_is_refused_unless_a_tolerance_is_asked_for(ucf: Path, difference: int) -> None:
    def count(video: Path) -> int:
        return listed(video) + difference * (video.stem == "Arson011_x264")

    assert len(faults_of(ucf, count)) == 2
    made = official("ucf-crime", ucf, 1, count=count)
    assert made.table.filter(video_id="Arson011_x264")["num_frames"].item() == FRAMES["Arson011_x264"]
    assert "1 video(s) differ from the list by at most 1 frame(s)" in made.notes[-1]
    assert "data.frame_tolerance=1" in made.notes[-1] and "Arson011_x264" in made.notes[-1]


def test_the_official_folder_counts_where_copies_lie_elsewhere(ucf: Path) -> None:
    copies = ucf / "Normal_Videos_for_Event_Recognition"
    copies.mkdir()
    for name in ("Normal_Videos_003_x264.mp4", "Normal_Videos001_x264.mp4", "unheard of.mp4"):
        (copies / name).touch()
    part = ucf / "Training-Normal-Videos-Part-1"
    (ucf / "Training_Normal_Videos_Anomaly").rename(part)
    made = official("ucf-crime", ucf, count=listed)
    assert path_in(made.table, "Normal_Videos_003_x264") == "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4"
    assert path_in(made.table, "Normal_Videos001_x264") == f"{part.name}/Normal_Videos001_x264.mp4"
    assert "2 video(s) are there more than once, taken: " in made.notes[-2]
    assert "1 video(s) are in no list, ignored: Normal_Videos_for_Event_Recognition/unheard" in made.notes[-1]


def test_of_two_videos_the_one_in_its_official_folder_counts(ucf: Path) -> None:
    (ucf / "a backup").mkdir()
    (ucf / "a backup/Abuse001_x264.mp4").touch()
    made = official("ucf-crime", ucf, count=listed)
    assert path_in(made.table, "Abuse001_x264") == "Abuse/Abuse001_x264.mp4"
    assert made.notes[-1] == "1 video(s) are there more than once, taken: Abuse/Abuse001_x264.mp4"


def test_a_copy_is_taken_where_there_is_no_other(ucf: Path) -> None:
    copies = ucf / "Normal_Videos_for_Event_Recognition"
    copies.mkdir()
    name = "Normal_Videos_003_x264.mp4"
    (ucf / "Testing_Normal_Videos_Anomaly" / name).rename(copies / name)
    assert path_in(official("ucf-crime", ucf, count=listed).table, name[:-4]) == f"{copies.name}/{name}"


def test_another_datasets_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    stand_ins(tmp_path, official_list("ucf-crime")[0][:3], ".mp4")
    with pytest.raises(UsageError, match="holds none of the videos of shanghaitech but 3 others") as raised:
        official("shanghaitech", tmp_path)
    assert "\n" not in str(raised.value)


def test_feature_files_stand_in_only_where_there_are_no_videos(ucf: Path, rows: list[Row], tmp_path: Path) -> None:
    stand_ins(ucf / "masks", rows, ".npy")
    (ucf / "masks/thumbnails.npy").touch()
    made = official("ucf-crime", ucf, count=listed)
    assert set(made.table["path"].str.slice(-4)) == {".mp4"}
    assert not any("more than once" in note for note in made.notes)
    features = stand_ins(tmp_path / "features", rows, "__0.npy")
    stand_ins(features, rows, "__1.npy")
    # nothing is counted in a feature file
    table = official("ucf-crime", features).table
    assert path_in(table, "Abuse001_x264") == "Abuse001_x264__0.npy" and table.height == len(rows)


def test_intervals_stand_in_for_numbers_of_frames_that_no_list_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "v=S-7rRLrxnVQ__#1_label_B4-0-0"
    root = stand_ins(tmp_path / "xd", shorten(monkeypatch, "xd-violence", [name], every=100), ".mp4")

    def count(video: Path) -> int:
        return 3038 if video.stem == name else 10**6

    with pytest.raises(UsageError, match=f"{name} has 3038 frames, too few for its interval 1970-3038"):
        official("xd-violence", root, count=count)
    made = official("xd-violence", root, frame_tolerance=1, count=count)
    assert name in made.notes[-1]
    assert made.table["num_frames"].null_count() == made.table.height
