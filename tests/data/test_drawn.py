"""The drawn dataset is a whole, valid, repeatable manifest with videos that show what it says."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomalyclip.data.drawn import draw_demo
from anomalyclip.data.manifest import check_frame_counts, load_manifest
from anomalyclip.data.splits import with_validation
from anomalyclip.data.video import VideoReader


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_demo(tmp_path_factory.mktemp("drawn") / "demo")


def times_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


def test_the_manifest_is_valid_and_its_frame_counts_are_exact(manifest: Path) -> None:
    df = load_manifest(manifest)
    readers = {row["video_id"]: VideoReader(row["source"]) for row in df.iter_rows(named=True)}
    shapes = {batch.shape[1:] for reader in readers.values() for batch in reader}
    counts = {video_id: reader.info.num_frames for video_id, reader in readers.items()}
    assert shapes == {(120, 160, 3)}
    assert check_frame_counts(df, counts, counts).equals(df)
    assert all(6 <= reader.info.num_frames / reader.info.fps + 0.1 <= 12.1 for reader in readers.values())


def test_every_class_is_there_to_learn_to_choose_by_and_to_test(manifest: Path) -> None:
    df = with_validation(load_manifest(manifest), fraction=0.2, seed=0)
    classes = df.with_columns(pl.col("labels").list.first().fill_null("Normal"))
    count = {(split, name): n for split, name, n in classes.group_by("split", "labels").len().iter_rows()}
    assert len(count) == 9 and all(count["test", name] >= 2 for name in ("Normal", "Explosion", "Fighting"))


def test_the_explosion_is_bright_exactly_in_its_interval(manifest: Path) -> None:
    df = load_manifest(manifest).filter(pl.col("split") == "test", pl.col("labels").list.contains("Explosion"))
    for source, anomalies in df.select("source", "anomalies").iter_rows():
        frames = np.concatenate(list(VideoReader(source)))
        bright = np.flatnonzero((frames[..., 0] > 235).mean(axis=(1, 2)) > 0.004)
        assert [bright[0], bright[-1]] == [anomalies[0]["start"], anomalies[0]["end"]]


def test_a_whole_drawing_is_returned_untouched_and_a_gap_is_filled_with_the_same_bytes(manifest: Path) -> None:
    before = times_of(manifest.parent)
    assert draw_demo(manifest.parent) == manifest
    assert times_of(manifest.parent) == before
    lost = manifest.parent / "clips" / "test_04_explosion.mp4"
    content = lost.read_bytes()
    lost.unlink()
    draw_demo(manifest.parent)
    assert lost.read_bytes() == content


def test_another_seed_draws_another_dataset(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("anomalyclip.data.drawn._encode", lambda path, *_: drawn.append(path.name))
    text = manifest.read_text()
    draw_demo(manifest.parent, seed=1)
    assert len(drawn) == 22
    assert manifest.read_text() != text
