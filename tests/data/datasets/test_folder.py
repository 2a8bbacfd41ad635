"""A user's own folders: what their manifest says, and every fault of a damaged tree at once."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from anomalyclip.data.datasets.folder import folder
from anomalyclip.data.labels import known_truth
from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.errors import UsageError

DrawVideo = Callable[..., Path]
Draw = Callable[[str], Path]

CLIPS = [
    "normal/clip #1 é.mp4", "normal/b.mp4", "normal/c.mp4", "normal/deeper/d.mp4",
    "Fighting/a fight, in the yard.mp4", "Fighting/b.mp4", "Fighting/f3.mp4",
    "Übergriff/100%.mp4", "Übergriff/u2.mp4",
]  # fmt: skip
INTERVALS = [
    ('"Fighting/a fight, in the yard.mp4"', "3-7"),
    ("Fighting/b.mp4", "0-2:Fighting;5-23"),
    ("Fighting/f3.mp4", "1-1"),
    ("Übergriff/100%.mp4", "4-9"),
]


@pytest.fixture(scope="session")
def clip(draw_video: DrawVideo, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 24 frames."""
    return draw_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=24).read_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "my set").mkdir()
    return tmp_path / "my set"


@pytest.fixture
def draw(root: Path, clip: bytes) -> Draw:
    """Put a video at a place below the root."""

    def put(place: str) -> Path:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(clip)
        return root / place

    return put


@pytest.fixture
def tree(root: Path, draw: Draw) -> Path:
    for place in CLIPS:
        draw(place)
    return annotate(root, INTERVALS)


def annotate(root: Path, rows: list[tuple[str, str]], header: str = "path,anomalies", end: str = "\n") -> Path:
    lines = [header, *(f"{path},{anomalies}" for path, anomalies in rows)]
    (root / "anomalies.csv").write_text(end.join(lines) + end, encoding="utf-8", newline="")
    return root


def manifest_of(root: Path, **options: int) -> pl.DataFrame:
    """The manifest as a job reads it."""
    write_manifest(folder(root, **options).table, root / "manifest.csv")
    return load_manifest(root / "manifest.csv")


def faults_of(root: Path) -> list[str]:
    with pytest.raises(UsageError) as raised:
        folder(root)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def test_classes_are_the_folders_and_a_part_of_each_with_intervals_becomes_test(tree: Path) -> None:
    df = manifest_of(tree, seed=5)
    counts = {(labels[0] if labels else "Normal", split): n
              for labels, split, n in df.group_by("labels", "split").len().iter_rows()}  # fmt: skip
    assert counts == {
        ("Normal", "train"): 3, ("Normal", "test"): 1, ("Fighting", "train"): 2, ("Fighting", "test"): 1,
        ("Übergriff", "train"): 1, ("Übergriff", "test"): 1,
    }  # fmt: skip
    assert sorted(df["path"]) == sorted(CLIPS)
    assert {"clip #1 é", "Normal-b", "c", "d", "Fighting-b", "100%"} < set(df["video_id"])
    held = df.filter(pl.col("anomalies").list.len() > 0)
    assert set(held["split"]) == {"test"} and held.height == 2
    assert df.filter(pl.col("video_id") == "100%")["anomalies"].to_list() == [[{"start": 4, "end": 9, "labels": []}]]


def test_the_split_follows_the_seed_and_a_new_video_does_not_reshuffle_it(tree: Path, draw: Draw) -> None:
    for number in range(20):
        draw(f"Normal/n{number}.mp4")
    first = manifest_of(tree, seed=5)
    assert manifest_of(tree, seed=5).equals(first)
    chosen = set(first.filter(split="test")["video_id"])
    assert set(manifest_of(tree, seed=6).filter(split="test")["video_id"]) != chosen
    draw("Normal/one more.mp4")
    assert len(chosen - set(manifest_of(tree, seed=5).filter(split="test")["video_id"])) <= 1


def test_intervals_of_training_videos_are_left_out_and_counted(tree: Path) -> None:
    notes = folder(tree).notes
    assert "intervals of 2 training video(s) left out: training uses their labels alone" in notes


def test_clip_labels_alone_give_training_and_test_videos(tree: Path) -> None:
    (tree / "anomalies.csv").unlink()
    df = manifest_of(tree, seed=5)
    test = df.filter(split="test")
    assert {labels[0] if labels else "Normal" for labels in test["labels"].to_list()} == {
        "Normal",
        "Fighting",
        "Übergriff",
    }
    assert test["anomalies"].list.len().max() == 0 and test.select(known_truth()).to_series().sum() == 1
    (note,) = folder(tree).notes
    assert "2 anomalous test video(s) without intervals count in figures of whole videos only" in note
    assert "path,anomalies" in note


def test_a_video_with_intervals_is_tested_rather_than_one_without(root: Path, draw: Draw) -> None:
    for number in range(10):
        draw(f"Normal/n{number}.mp4")
        draw(f"Riot/r{number}.mp4")
    for number in range(10):
        annotate(root, [(f"Riot/r{number}.mp4", "all:Riot")])
        test = manifest_of(root, seed=number).filter(pl.col("split") == "test", pl.col("labels").list.len() > 0)
        assert test["video_id"].to_list() == [f"r{number}"]
        assert test["anomalies"].to_list() == [[{"start": 0, "end": None, "labels": ["Riot"]}]]


def test_videos_without_intervals_are_not_tested_without_a_normal_one(root: Path, draw: Draw) -> None:
    for place in ("Normal/a.mp4", "Riot/b.mp4", "Riot/c.mp4"):
        draw(place)
    assert set(manifest_of(root)["split"]) == {"train"}
    (note,) = folder(root).notes
    assert note == "no test videos, so no figures will be computed: Normal and another class need two videos each"
    annotate(root, [("Riot/b.mp4", "2-5")])  # has normal frames itself
    assert manifest_of(root).filter(split="test")["video_id"].to_list() == ["b"]


def test_faulty_videos_are_skipped_only_when_that_is_asked_for(tree: Path) -> None:
    for place in ("Fighting/f3.mp4", "normal/b.mp4"):  # one of them has intervals
        (tree / place).write_bytes((tree / place).read_bytes()[:-300])
    assert len(faults_of(tree)) == 2
    made = folder(tree, skip_bad=True)
    assert sorted(made.table["path"]) == sorted(set(CLIPS) - {"Fighting/f3.mp4", "normal/b.mp4"})
    assert [line.split(": ")[1] for line in made.skipped] == ["Fighting/f3.mp4", "normal/b.mp4"]


def test_a_class_without_a_sound_video_is_refused_though_faulty_ones_are_skipped(tree: Path) -> None:
    for place in ("Übergriff/100%.mp4", "Übergriff/u2.mp4", "normal/b.mp4"):
        (tree / place).write_bytes(b"x")
    with pytest.raises(UsageError) as raised:
        folder(tree, skip_bad=True)
    lines = str(raised.value).splitlines()[1:]
    assert "no video of Übergriff can be opened" in lines[0] and len(lines) == 4


def test_a_class_keeps_a_training_video_and_figures_need_both_kinds(root: Path, draw: Draw) -> None:
    for place in ("Normal/a.mp4", "Normal/b.mp4", "Riot/only.mp4"):
        draw(place)
    annotate(root, [("Riot/only.mp4", "1-2")])
    assert set(manifest_of(root)["split"]) == {"train"}
    draw("Riot/another.mp4")
    assert set(manifest_of(root).filter(split="test")["video_id"].str.head(2)) < {"on", "a", "b"}


def test_a_split_that_is_there_is_kept(root: Path, draw: Draw) -> None:
    for place in ("Train/Normal/a.mp4", "Train/Riot/b.mp4", "val/NORMAL/c.mp4", "val/Riot/d.mp4", "test/Riot/e.mp4"):
        draw(place)
    annotate(root, [("test/Riot/e.mp4", "2-5"), ("Train/Riot/b.mp4", "2-5")])
    df = manifest_of(root)
    assert dict(df.select("video_id", "split").iter_rows()) == {
        "a": "train", "b": "train", "c": "val", "d": "val", "e": "test",
    }  # fmt: skip
    assert folder(root).notes[-1].startswith("intervals of 1 training video(s)")
    (root / "anomalies.csv").unlink()
    assert manifest_of(root).equals(df.with_columns(anomalies=pl.Series([[]] * 5, dtype=df.schema["anomalies"])))
    assert folder(root).notes[-1].startswith("1 anomalous test video(s) without intervals")
    shutil.rmtree(root / "test")
    assert folder(root).notes == ["no test videos, so no figures will be computed: there is no folder test"]


def test_the_csv_may_come_from_a_spreadsheet_on_windows(tree: Path) -> None:
    expected = manifest_of(tree)
    rows = [(unicodedata.normalize("NFD", path.replace("/", "\\")), cell) for path, cell in INTERVALS]
    annotate(tree, [*rows, ("", "")], header="\ufeffpath,anomalies", end="\r\n")
    assert manifest_of(tree).equals(expected)


def test_several_rows_of_one_video_add_up(tree: Path) -> None:
    annotate(tree, [("Übergriff/100%.mp4", "4-6"), ("Übergriff/100%.mp4", "8-9")])
    row = manifest_of(tree).row(by_predicate=pl.col("video_id") == "100%", named=True)
    assert [(i["start"], i["end"]) for i in row["anomalies"]] == [(4, 6), (8, 9)]


def test_folders_of_frames_are_videos_with_a_known_length(root: Path, draw: Draw) -> None:
    for place in ("Normal/a.mp4", "Normal/b.mp4", "Riot/c.mp4"):
        draw(place)
    (root / "Riot/frames #1").mkdir()
    for number in range(3):
        cv2.imwrite(str(root / f"Riot/frames #1/{number}.png"), np.zeros((8, 8, 3), np.uint8))
    annotate(root, [("Riot/frames #1/", "1-2")])
    row = manifest_of(root).row(by_predicate=pl.col("video_id") == "frames #1", named=True)
    assert (row["path"], row["split"], row["num_frames"]) == ("Riot/frames #1", "test", 3)
    annotate(root, [("Riot/frames #1", "1-3")])
    assert faults_of(root) == [
        "anomalies.csv line 2: 'Riot/frames #1': interval 1-3 goes past the last frame, 2 (of 3, counted from 0)"
    ]


def test_what_is_no_video_is_passed_over(tree: Path) -> None:
    expected = manifest_of(tree)
    for name in ("Fighting/notes.txt", "Fighting/._b.mp4", "Fighting/b.mp4.part", "README", ".git/x.mp4"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    assert manifest_of(tree).equals(expected)


def test_every_fault_of_a_damaged_tree_is_told_at_once(tree: Path, draw: Draw) -> None:
    draw("stray.mp4")
    (tree / "Empty").mkdir()
    (tree / "Fighting/f3.mp4").write_bytes((tree / "Fighting/f3.mp4").read_bytes()[:-300])
    (tree / "Fighting/b.mp4").unlink()
    draw("Riot|Arson/x.mp4")
    draw("fighting/y.mp4")
    draw("normal/colon: 1.mp4")
    draw("normal/c.avi")
    rows = [
        ("Übergriff/100%.mp4", "4-24"),
        ("Übergriff/u2.mp4", "4..9"),
        ("normal/c.mp4", "1-2"),
        (
            "a",
            "1-2",
        ),
    ]
    annotate(tree, [*rows, ("Übergriff/u2.mp4", "1-2:Riot"), ("Fighting/f4.mp4", "1-2,7")])
    expected = [
        "stray.mp4 is in no class",
        "Empty holds no videos",
        "label 'Riot|Arson' holds one of | ; : (the separators of the CSV form): rename the folder",
        "class folders Fighting, fighting differ in case alone",
        "normal/colon: 1.mp4: video_id is not safe as a file name",
        "normal/c.avi, normal/c.mp4 have the same name in the same class: rename all but one",
        "cannot be opened: Fighting/f3.mp4: cut off",
        "line 2: 'Übergriff/100%.mp4': interval 4-24 goes past the last frame, 23",
        "line 3: cannot read interval '4..9'",
        "line 4: 'normal/c.mp4' is a normal video",
        "line 5: there is no video 'a'",
        "line 6: 'Übergriff/u2.mp4': interval 1-2: 'Riot' is not among the video's",
        "line 7: there are more cells than columns",
    ]
    found = faults_of(tree)
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        assert words in line


def test_a_video_of_the_csv_that_is_missing_is_named_with_the_nearest(tree: Path) -> None:
    (tree / "Fighting/f3.mp4").rename(tree / "Fighting/F3.mp4")
    assert faults_of(tree) == [
        "anomalies.csv line 4: there is no video 'Fighting/f3.mp4': did you mean 'Fighting/F3.mp4'?"
    ]


@pytest.mark.parametrize(("places", "words"), [
    ([], ["the root holds no class folder"]),
    (["a.mp4"], ["a.mp4 is in no class", "the root holds no class folder"]),
    (["Riot/a.mp4"], ["the root holds no folder Normal"]),
    (["Normal/a.mp4"], ["the root holds no class folder beside Normal"]),
    (["train/Riot/a.mp4", "val/Normal/b.mp4"], ["train holds no folder Normal", "val holds no class folder beside"]),
    (["train/Riot/a.mp4", "train/Normal/b.mp4", "Riot/c.mp4"], ["Riot/c.mp4 is outside of train"]),
    (["train/Riot/a.mp4", "train/Normal/b.mp4", "train/c.mp4"], ["train/c.mp4 is in no class"]),
])  # fmt: skip
def test_a_tree_without_the_classes_that_training_needs_is_refused(
    root: Path, draw: Draw, places: list[str], words: list[str]
) -> None:
    for place in places:
        draw(place)
    found = faults_of(root)
    assert len(found) == len(words)
    for line, word in zip(found, words, strict=True):
        assert line.startswith(word)


def test_a_class_folder_of_loose_pictures_is_refused(tree: Path) -> None:
    (tree / "Riot").mkdir()
    (tree / "Riot/1.png").touch()
    assert faults_of(tree) == ["Riot holds pictures itself: a folder of frames must be in the folder of its class"]


@pytest.mark.parametrize(("content", "words"), [
    (b"path;anomalies\n", "column path, anomalies is missing"),
    (b"path,anomalies\nNormal/\xff,\n", "cannot be read as CSV in UTF-8"),
])  # fmt: skip
def test_a_csv_that_cannot_be_read_is_a_fault(tree: Path, content: bytes, words: str) -> None:
    (tree / "anomalies.csv").write_bytes(content)
    assert words in faults_of(tree)[0]


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is missing"):
        folder(tmp_path / "nowhere")
