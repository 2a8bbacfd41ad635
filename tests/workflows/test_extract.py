"""The extraction job: what it refuses, leaves out and foretells, and that killing it changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from anomalyclip import cluster
from anomalyclip.errors import JobError, UsageError
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.commands import extract as main

DrawVideo = Callable[..., Path]
SCRIPT = Path(__file__).parent.parent.parent / "workflows" / "extract.py"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "videos.csv"


def write(manifest: Path, *videos: str) -> Path:
    rows = [f"{Path(video).stem},{video},train,,," for video in videos]
    manifest.write_text("\n".join(["video_id,path,split,labels,anomalies,num_frames", *rows]))
    return manifest


def damage(video: Path, folder: Path) -> list[Path]:
    """An empty, a truncated and a garbled copy of a video."""
    content = video.read_bytes()
    copies = {"empty": b"", "truncated": content[: len(content) // 2], "garbled": content[::-1]}
    for name, bad in copies.items():
        (folder / f"{name}.mp4").write_bytes(bad)
    return [folder / f"{name}.mp4" for name in copies]


def objects(store: FeatureStore) -> dict[str, int]:
    """Object file names and inodes, which change where an object is written again."""
    folder = Path(store.storage.path(store.key))
    files = folder.glob("*.parquet") if folder.is_dir() else []
    return {path.name: path.stat().st_ino for path in files if len(path.stem) == 32}


def test_wrong_manifest_and_wrong_setting_are_refused_before_ray_starts(
    manifest: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", None)

    with pytest.raises(UsageError, match="missing"):
        main([str(manifest), "--storage", storage.root])
    write(manifest, "a.mp4")
    with pytest.raises(UsageError, match="sampling_rate"):
        main([str(manifest), "--storage", storage.root, "--set", "extraction.sampling_rat=2"])


def test_dry_run_counts_without_ray_and_writes_nothing(
    manifest: Path, storage: Storage, draw_video: DrawVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", None)
    video = draw_video(tmp_path / "a.mp4", num_frames=50)
    (tmp_path / "b.mp4").touch()
    write(manifest, "a.mp4", "b.mp4")

    figures = main([str(manifest), "--storage", storage.root, "--dry-run", "--set", "extraction.sampling_rate=2"])

    assert (figures["videos"], figures["missing"], figures["unreadable"], figures["frames"]) == (2, 2, 1, 25)
    assert figures["bytes_needed"] == 25 * (64 * 2 + 4)
    assert figures["frames_per_second"] > 0
    assert "measured" in figures["rate_source"]
    assert figures["hours"] == pytest.approx(25 / figures["frames_per_second"] / 3600)
    assert figures["enough_space"]
    assert not storage.exists("features")
    assert video.exists()


@pytest.mark.cluster
def test_bad_videos_do_not_fail_the_job(
    ray_session: None,
    manifest: Path,
    storage: Storage,
    draw_video: DrawVideo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = damage(draw_video(tmp_path / "good.mp4"), tmp_path)
    write(manifest, "good.mp4", *(video.name for video in bad))
    command = [str(manifest), "--storage", storage.root]

    first, second, third = main(command), main(command), main([*command, "--retry"])

    assert (first["extracted"], first["skipped"], first["quarantined"]) == (1, 0, 3)
    assert (second["extracted"], second["skipped"], second["quarantined"]) == (0, 1, 3)
    assert (third["extracted"], third["skipped"], third["quarantined"]) == (0, 1, 3)
    quarantine = FeatureStore(storage, first["fingerprint"]).quarantine()
    assert set(quarantine["video"]) == {str(video) for video in bad}
    assert all(video in reason for video, reason in quarantine.select("video", "reason").iter_rows())
    assert "last extraction" in main([*command, "--dry-run"])["rate_source"]

    monkeypatch.setattr(cluster, "is_own", lambda: True)
    monkeypatch.setattr(cluster, "connect", None)  # nothing to do needs no Ray
    assert main(command) == {**second, "seconds": pytest.approx(0, abs=60)}


@pytest.mark.cluster
def test_job_fails_only_where_no_video_can_be_read(
    ray_session: None, manifest: Path, storage: Storage, draw_video: DrawVideo, tmp_path: Path
) -> None:
    write(manifest, *(video.name for video in damage(draw_video(tmp_path / "good.mp4"), tmp_path)))

    with pytest.raises(JobError, match="none of the 3 videos"):
        main([str(manifest), "--storage", storage.root])


@pytest.mark.cluster
def test_killed_extraction_continues_where_it_was(
    ray_session: None, manifest: Path, storage: Storage, draw_video: DrawVideo, tmp_path: Path
) -> None:
    names = [draw_video(tmp_path / f"{seed}.mp4", num_frames=800, seed=seed).name for seed in range(8)]
    write(manifest, *names)
    unbroken = Storage(str(tmp_path / "unbroken"))
    whole = FeatureStore(unbroken, main([str(manifest), "--storage", unbroken.root])["fingerprint"])
    store = FeatureStore(storage, whole.fingerprint)

    job = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(manifest), "--storage", storage.root],
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
    )
    while len(objects(store)) < 2:
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.01)
    tree = psutil.Process(job.pid).children(recursive=True)
    os.killpg(job.pid, signal.SIGKILL)
    for process in tree:
        if process.is_running():
            process.kill()
    job.communicate()
    psutil.wait_procs(tree, timeout=20)
    survived = objects(store)
    result = main([str(manifest), "--storage", storage.root])

    assert 2 <= len(survived) < 8
    assert (result["extracted"] + result["skipped"], result["quarantined"]) == (8, 0)
    assert survived.items() <= objects(store).items()
    assert objects(store).keys() == objects(whole).keys()
    for name in names:
        video = str(tmp_path / name)
        assert store.read_features(video).tobytes() == whole.read_features(video).tobytes()


def test_workers_of_a_cluster_with_gpus_extract(manifest: Path, storage: Storage, draw_video: DrawVideo) -> None:
    videos = [str(draw_video(manifest.with_name(f"{seed}.mp4"), num_frames=20, seed=seed)) for seed in range(3)]
    # Ray counts a GPU where none is: its workers, which find none either, use the CPU
    told = {**os.environ, "RAY_OVERRIDE_RESOURCES": '{"CPU": 4, "GPU": 1}', "RAY_ADDRESS": ""}
    line = [sys.executable, str(SCRIPT), str(write(manifest, *videos)), "--storage", storage.root]
    done = subprocess.run(line, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["extracted"], report["frames"]) == (3, 60)
