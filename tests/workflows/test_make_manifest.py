"""The command on a whole and on a damaged tree of ShanghaiTech, with real videos and folders of frames."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest

from anomalyclip import cli
from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import UsageError
from tests.commands import make_manifest as main
from tests.shortened import shorten

DrawVideo = Callable[..., Path]
Run = Callable[..., tuple[int, str]]
Row = Mapping[str, Any]

NAMED = ("01_001", "01_002", "02_001", "01_0014", "01_0015")
"""Videos that tests speak of."""


def lay(root: Path, rows: Sequence[Row], draw_video: DrawVideo) -> Path:
    """Training videos as .avi, the others as folders of as many pictures as the list says: links to two files."""
    video = draw_video(root.parent / "clip.avi", num_frames=24)
    cv2.imwrite(str(root.parent / "frame.png"), np.zeros((8, 8, 3), np.uint8))
    (root / "training/videos").mkdir(parents=True)
    for row in rows:
        if row["num_frames"] is None:
            os.link(video, root / f"training/videos/{row['video_id']}.avi")
        else:
            folder = root / f"testing/frames/{row['video_id']}"
            folder.mkdir(parents=True)
            for number in range(row["num_frames"]):
                os.link(root.parent / "frame.png", folder / f"{number:03d}.png")
    return root


@pytest.fixture
def tree(tmp_path: Path, draw_video: DrawVideo, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of a tenth of the list."""
    return lay(tmp_path / "shanghaitech", shorten(monkeypatch, "shanghaitech", NAMED, every=10), draw_video)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command as a shell would; returns the exit code and standard error."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["make_manifest", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.run(main)
        return int(stopped.value.code or 0), capsys.readouterr().err

    return run


def test_a_whole_tree_becomes_a_manifest_that_jobs_take(tree: Path) -> None:
    result = main(["shanghaitech", str(tree)])
    assert result == {
        "manifest": str(tree / "manifest.csv"),
        "videos": {"test": 23, "train": 25},
        "anomalous_frames": 1010,
        "skipped": 0,
        "notes": 0,
    }
    df = load_manifest(tree / "manifest.csv")
    assert not df["path"].str.starts_with("/").any()
    assert df.filter(video_id="01_0014")["path"].item() == "testing/frames/01_0014"
    elsewhere = main(["shanghaitech", str(tree), "--no-check", "--output", str(tree.parent / "m.parquet")])
    again = load_manifest(elsewhere["manifest"])
    assert again["source"].equals(df["source"]) and again["path"].str.starts_with("/").all()


def test_every_fault_of_a_damaged_tree_is_told_at_once_and_nothing_written(tree: Path, run: Run) -> None:
    videos, frames = tree / "training/videos", tree / "testing/frames"
    content = (videos / "01_001.avi").read_bytes()
    for name, damaged in {"01_001": content[:-500], "02_001": b"", "extra": content}.items():
        (videos / f"{name}.avi").unlink(missing_ok=True)
        (videos / f"{name}.avi").write_bytes(damaged)
    (videos / "01_002.avi").unlink()
    (frames / "01_0014/000.png").unlink()
    os.link(tree.parent / "frame.png", frames / "01_0015/9999.png")
    before = sorted(tree.rglob("*"))

    code, errors = run("shanghaitech", str(tree))
    lines = errors.splitlines()
    assert code == 2 and "Traceback" not in errors
    assert lines[0] == (
        f"error: {tree} has 6 fault(s) (1 missing, 1 in no list, 1 shorter, 2 cut or unreadable, 1 longer; "
        "decoders differ by a frame or two, which --frame-tolerance N allows; --allow-missing leaves out the missing "
        "ones):"
    )
    assert len(lines) == 7
    for words in (
        "01_002 is missing",
        "training/videos/extra.avi is in no list: remove it",
        "01_0014 has 264 frames, 1 fewer than in its list (265)",
        "01_0015 has 434 frames, 1 more than in its list (433)",
        f"01_001 cannot be read: training/videos/01_001.avi: cut off: {len(content) - 500} bytes of",
        "02_001 cannot be read: training/videos/02_001.avi: an empty file",
    ):
        assert any(line.strip().startswith(words) for line in lines), words
    assert sorted(tree.rglob("*")) == before

    code, errors = run("shanghaitech", str(tree), "--frame-tolerance", "1")
    assert code == 2 and "has 4 fault(s) (1 missing, 1 in no list, 2 cut or unreadable; --allow-missing" in errors


def test_a_part_of_a_dataset_must_be_asked_for_and_what_is_missing_is_counted(
    tree: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    videos = sorted((tree / "training/videos").iterdir())
    for video in videos[2:]:
        video.unlink()
    gone = len(videos) - 2
    code, errors = run("shanghaitech", str(tree), "--no-check")
    assert code == 2 and f"({gone} missing; --allow-missing leaves out the missing ones):" in errors
    made = main(["shanghaitech", str(tree), "--allow-missing"])
    assert (made["skipped"], sum(made["videos"].values())) == (gone, 48 - gone)
    assert load_manifest(tree / "manifest.csv").height == 48 - gone
    (listed,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert listed.startswith(f"{gone} video(s) left out:\n  {videos[2].stem} is missing\n")
    (tree / "training/videos/extra.avi").touch()
    code, errors = run("shanghaitech", str(tree), "--allow-missing", "--no-check")
    assert code == 2 and "has 1 fault(s) (1 in no list)" in errors


def test_a_manifest_that_is_there_outlives_a_refusal_and_is_replaced_by_success(tree: Path, run: Run) -> None:
    (tree / "manifest.csv").write_text("mine")
    (tree / "training/videos/extra.avi").touch()
    assert run("shanghaitech", str(tree), "--no-check")[0] == 2
    assert (tree / "manifest.csv").read_text() == "mine"
    (tree / "training/videos/extra.avi").unlink()
    code, errors = run("shanghaitech", str(tree), "--no-check")
    assert code == 0, errors
    assert load_manifest(tree / "manifest.csv").height == 48


def test_a_manifest_that_no_job_would_take_is_not_left_behind(
    tree: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("row 1 is wrong")

    monkeypatch.setattr("anomalyclip.jobs.manifests.load_manifest", refuse)
    before = sorted(tree.iterdir())
    assert run("shanghaitech", str(tree), "--no-check")[0] == 2
    assert sorted(tree.iterdir()) == before


def test_faulty_clips_are_listed_ten_at_most_and_counted(
    tmp_path: Path, run: Run, draw_video: DrawVideo, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Normal/a", "Riot/b"):
        (tmp_path / name).parent.mkdir()
        draw_video(tmp_path / f"{name}.mp4")
    for number in range(12):
        (tmp_path / f"Riot/bad {number:02d}.mp4").write_bytes(b"x")
    code, errors = run("folder", str(tmp_path))
    assert code == 2 and "has 12 fault(s)" in errors
    made = main(["folder", str(tmp_path), "--skip-bad"])
    assert (made["skipped"], made["videos"]) == (12, {"train": 2})
    (listed,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    lines = listed.splitlines()
    assert lines[0] == "12 video(s) left out:" and len(lines) == 12 and lines[-1].strip() == "…"
    assert "Riot/bad 09.mp4" in lines[-2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shanghaitech", "nowhere"), "nowhere is missing"),
        (("shangai", "."), "invalid choice: 'shangai'"),
        (("ucf-crime", ".", "--seed", "1"), "ucf-crime does not use --seed"),
        (("ped2", ".", "--frame-tolerance", "1", "--no-check"), "ped2 does not use --frame-tolerance, --no-check"),
        (("ped2", ".", "--allow-missing"), "ped2 does not use --allow-missing"),
        (("ucf-crime", ".", "--frame-tolerance", "-1"), "--frame-tolerance -1"),
        (("ucf-crime", ".", "--output", "manifest.txt"), "must end in .csv or .parquet"),
    ],
)
def test_wrong_use_is_one_line(run: Run, arguments: tuple[str, ...], words: str, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, errors = run(*arguments)
    assert code == 2 and words in errors
    assert len(errors.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(tree: Path, run: Run) -> None:
    code, errors = run("shanghaitech", str(tree), "--no-check", "--output", str(tree / "nowhere" / "m.csv"))
    assert code == 2 and "cannot be written: No such file or directory" in errors


def test_parts_that_a_link_brings_in_are_named_absolutely(tree: Path) -> None:
    (tree / "training").rename(tree.parent / "training")
    (tree / "training").symlink_to(tree.parent / "training")
    made = main(["shanghaitech", str(tree), "--no-check"])
    paths = load_manifest(made["manifest"]).select("video_id", pl.col("path").str.starts_with("/"))
    assert paths.filter(video_id="01_001")["path"].item() and not paths.filter(video_id="01_0014")["path"].item()
