"""The embedded benchmark is what it says: known anomalies, cameras of its own a split, the same by seed."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest

from anomalyclip.benchmark.footage import videos
from anomalyclip.benchmark.footage.anomalies import ANOMALIES, MOTION_ONLY
from anomalyclip.benchmark.footage.camera import camera
from anomalyclip.benchmark.footage.places import PLACES
from anomalyclip.benchmark.footage.videos import FULL, Clip, Size, draw_benchmark, frame, frames, plan, write_clip
from anomalyclip.benchmark.pictures import illustrations
from anomalyclip.data.labels import NORMAL
from anomalyclip.data.manifest import load_manifest

SMALL = {"train": Size(1, 0), "test": Size(0, 1)}


@pytest.fixture
def clip() -> Clip:
    found = next(clip for clip in plan(FULL) if clip.label == "Explosion")
    return found._replace(num_frames=30, anomalies=((10, 19),))


def test_the_benchmark_has_120_training_and_50_test_videos_of_eight_places_and_seven_classes() -> None:
    clips = plan(FULL)
    assert [sum(clip.split == split for clip in clips) for split in ("train", "val", "test")] == [120, 28, 50]
    assert {clip.place for clip in clips} == set(PLACES) and len(PLACES) == 8
    assert {clip.label for clip in clips} == {NORMAL, *ANOMALIES} and len(ANOMALIES) - len(MOTION_ONLY) >= 6


def test_an_anomalous_video_is_mostly_normal() -> None:
    anomalous = [clip for clip in plan(FULL) if clip.anomalies]
    shares = [videos.anomalous(clip).mean() for clip in anomalous]
    assert np.mean(shares) < 0.3 and max(shares) < 0.5


def test_no_camera_and_no_scene_is_shared_by_two_splits_or_two_benchmarks() -> None:
    owners: dict[tuple[str, int], tuple[int, str]] = {}
    for seed in (0, 1, 99):
        for clip in plan(FULL, seed):
            for key in (("camera", clip.camera), ("scene", clip.scene)):
                assert owners.setdefault(key, (seed, clip.split)) == (seed, clip.split)
    scenes = [key for key in owners if key[0] == "scene"]
    assert len(scenes) == 3 * 198, "every video has a scene of its own"


def test_most_cameras_see_a_normal_video_as_well_as_an_anomalous_one() -> None:
    labels: dict[int, list[str]] = {}
    for clip in plan(FULL):
        labels.setdefault(clip.camera, []).append(clip.label)
    both = [seen for seen in labels.values() if len(seen) == 2 and seen[0] == NORMAL != seen[1]]
    assert len(both) > 0.8 * len(labels) and max(map(len, labels.values())) == 2


def test_pre_training_knows_neither_the_cameras_nor_the_seeds_of_the_benchmark() -> None:
    pictures_alone = "import sys, anomalyclip.benchmark.pictures.illustrations; "
    code = pictures_alone + "sys.exit(any('footage' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    of_pictures = {tuple(key) for key in ([0, illustrations.STREAM, 0], [7, illustrations.STREAM, 123])}
    of_clips = {
        (seed, stream) for clip in plan(FULL) for seed in (clip.camera, clip.scene) for stream in videos.STREAMS
    }
    assert {key[:2] for key in of_pictures}.isdisjoint(of_clips)
    assert illustrations.STREAM not in videos.STREAMS


def test_a_seed_draws_the_same_frames_and_another_draws_others(clip: Clip) -> None:
    first, again = list(frames(clip)), list(frames(clip))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (clip._replace(camera=clip.camera + 1), clip._replace(scene=clip.scene + 1)):
        assert not np.array_equal(first[0], frame(other, 0))


def test_any_frame_can_be_drawn_by_itself(clip: Clip) -> None:
    whole = list(frames(clip))
    assert np.array_equal(frame(clip, 12), whole[12])


@pytest.mark.parametrize("label", ANOMALIES)
def test_an_anomaly_is_seen_in_its_interval_and_leaves_the_rest_of_the_video_as_it_is(label: str) -> None:
    clip = next(clip for clip in plan(FULL) if clip.label == label)
    clip = clip._replace(num_frames=400, anomalies=((300, 360),))
    ordinary = clip._replace(label=NORMAL, anomalies=())
    assert not np.array_equal(frame(clip, 330), frame(ordinary, 330))
    assert np.array_equal(frame(clip, 100), frame(ordinary, 100))


def test_cameras_differ_in_what_they_see_and_are_the_same_by_seed() -> None:
    for place in PLACES:
        one, same, other = camera(place, 5), camera(place, 5), camera(place, 6)
        assert np.array_equal(one.background, same.background) and np.array_equal(one.grain, same.grain)
        assert not np.array_equal(one.background, other.background)


def test_the_manifest_goes_with_the_videos(tmp_path: Path) -> None:
    path = draw_benchmark(tmp_path, SMALL, processes=1)
    manifest = load_manifest(path)
    test = manifest.filter(pl.col("split") == "test")
    assert test.height == len(ANOMALIES) and test["anomalies"].list.len().min() == 1
    assert manifest.filter(pl.col("split") == "train")["anomalies"].list.len().max() == 0
    for source, num_frames in manifest.select("source", "num_frames").iter_rows():
        with av.open(source) as video:
            assert sum(1 for _ in video.decode(video=0)) == num_frames
    written = {clip: clip.stat().st_mtime_ns for clip in tmp_path.glob("*/*.mp4")}
    next(iter(written)).unlink()
    path.unlink()
    draw_benchmark(tmp_path, SMALL, processes=1)
    kept = [clip for clip, time in written.items() if clip.stat().st_mtime_ns == time]
    assert len(kept) == len(written) - 1, "an interrupted drawing draws only what is missing"


def test_the_same_bytes_are_written_again(clip: Clip, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(clip, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_another_drawing_in_the_same_folder_takes_none_of_the_first_ones_videos(tmp_path: Path) -> None:
    first = load_manifest(draw_benchmark(tmp_path, {"test": Size(1, 0)}, seed=0, processes=1))
    second = load_manifest(draw_benchmark(tmp_path, {"test": Size(1, 0)}, seed=1, processes=1))
    assert set(first["source"]).isdisjoint(second["source"])


def test_moments_that_look_like_anomalies_are_rare() -> None:
    clips = plan(FULL)
    assert 0.2 < np.mean([clip.look_alikes for clip in clips]) < 0.6
