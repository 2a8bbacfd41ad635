import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest

from anomalyclip.config import RunConfig
from anomalyclip.data.video import VideoReader
from anomalyclip.device import resolve_device
from anomalyclip.errors import JobError
from anomalyclip.features import ray_extraction
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.ray_extraction import ExtractionProgress, extract_missing
from anomalyclip.features.sources import content_hash
from anomalyclip.features.store import FeatureStore
from anomalyclip.progress import Bar
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from tests.long_footage import REFRESH, draw_long

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]

DrawVideo = Callable[..., Path]
CONFIG = RunConfig()


def manifest(videos: list[Path]) -> pl.DataFrame:
    rows = [(str(video), None) for video in videos]
    return pl.DataFrame(rows, schema={"source": pl.String(), "num_frames": pl.Int64()}, orient="row")


def worker_pids() -> list[int]:
    tree = psutil.Process().children(recursive=True)
    return [
        process.pid for process in tree if "MapWorker" in process.name() or "_Worker" in " ".join(process.cmdline())
    ]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[ExtractionProgress]:
    """How far the extractions of a test were after each video."""
    shown: list[ExtractionProgress] = []
    monkeypatch.setattr(ray_extraction, "_show", lambda bar, state: shown.append(state))
    return shown


def test_store_holds_what_a_plain_loop_computes_and_a_second_run_does_nothing(
    draw_video: DrawVideo, storage: Storage, tmp_path: Path, steps: list[ExtractionProgress]
) -> None:
    videos = [draw_video(tmp_path / f"{seed}.mp4", num_frames=20 + 60 * seed, seed=seed) for seed in range(4)]
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(videos[0].read_bytes())

    report = extract_missing(manifest([*videos, twin, twin]), CONFIG, storage)
    again = extract_missing(manifest([*videos, twin]), CONFIG, storage)

    assert (report.videos, report.extracted, report.skipped, report.quarantined) == (5, 5, 0, 0)
    assert [step.done for step in steps] == [1, 2, 3, 4, 5]
    assert (steps[-1].seconds_left, steps[-1].total) == (0, 5)
    assert list(report.nodes.values()) == [report.frames]
    assert (again.extracted, again.skipped, again.nodes) == (0, 5, {})
    store = FeatureStore(storage, report.fingerprint)
    assert store.index()["object"].n_unique() == 4
    encoder = FrameEncoder(load_backbone(CONFIG.backbone), "float32", resolve_device())
    for video in videos:
        expected = np.concatenate([encoder(frames) for frames in VideoReader(video)])
        np.testing.assert_allclose(store.read_features(str(video)), expected, rtol=1e-2, atol=1e-3)


def test_bad_videos_are_quarantined_and_tried_again_only_on_request(
    draw_video: DrawVideo, storage: Storage, tmp_path: Path, steps: list[ExtractionProgress]
) -> None:
    good, bad = draw_video(tmp_path / "good.mp4"), tmp_path / "bad.mp4"
    bad.touch()

    first = extract_missing(manifest([good, bad]), CONFIG, storage)
    second = extract_missing(manifest([good, bad]), CONFIG, storage)
    steps.clear()
    third = extract_missing(manifest([good, bad]), CONFIG, storage, retry=True)

    assert (first.extracted, first.quarantined) == (1, 1)
    assert (second.extracted, second.skipped, second.quarantined) == (0, 1, 1)
    assert (third.quarantined, len(steps)) == (1, 1)


def test_killed_worker_is_replaced(
    draw_video: DrawVideo, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [draw_video(tmp_path / f"{seed}.mp4", num_frames=300, seed=seed) for seed in range(6)]
    killed: list[int] = []

    def kill_worker(bar: Bar, state: ExtractionProgress) -> None:
        if not killed:
            killed.extend(worker_pids())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(ray_extraction, "_show", kill_worker)
    report = extract_missing(manifest(videos), CONFIG, storage)

    assert killed
    assert (report.extracted, report.quarantined) == (6, 0)
    store = FeatureStore(storage, report.fingerprint)
    assert [len(store.read_features(str(video))) for video in videos] == [300] * 6


def test_a_video_that_kills_its_worker_each_time_ends_the_job_by_name(
    draw_video: DrawVideo, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(ray_extraction._Worker):  # local, so that it goes to the workers as it is
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            encode = self._encoder
            self._encoder: Any = lambda frames: encode(frames) if frames.shape[1] != 16 else os.kill(os.getpid(), 9)

    good, poison = draw_video(tmp_path / "good.mp4"), draw_video(tmp_path / "poison.mp4", height=16)
    monkeypatch.setattr(ray_extraction, "_Worker", Dying)

    with pytest.raises(JobError, match=r"a worker died 3 times while it extracted .*poison.mp4.*; run") as failure:
        extract_missing(manifest([good, poison]), CONFIG, storage)
    assert "\n" not in str(failure.value)


def test_fault_of_the_store_ends_the_job_in_one_line(draw_video: DrawVideo, storage: Storage, tmp_path: Path) -> None:
    backbone = load_backbone(CONFIG.backbone)
    report = extract_missing(manifest([]), CONFIG, storage, backbone=backbone)
    video = draw_video(tmp_path / "a.mp4")
    in_the_way = FeatureStore(storage, report.fingerprint).object_key(content_hash(video))
    Path(storage.path(in_the_way)).mkdir(parents=True)

    with pytest.raises(JobError, match=r"extraction failed: .*\.parquet") as failure:
        extract_missing(manifest([video]), CONFIG, storage, backbone=backbone)
    assert "\n" not in str(failure.value)


def test_many_short_videos_are_blocks_and_each_is_a_result(
    storage: Storage, tmp_path: Path, steps: list[ExtractionProgress]
) -> None:
    absent = [tmp_path / f"{number}.mp4" for number in range(100)]
    report = extract_missing(manifest(absent), CONFIG, storage)
    assert (report.videos, report.quarantined) == (100, 100)
    assert [step.done for step in steps] == list(range(1, 101))
    stored = FeatureStore(storage, report.fingerprint)
    assert pl.read_parquet(storage.path(f"{stored.key}/quarantine.parquet")).height == 100


def test_two_workers_share_the_videos(draw_video: DrawVideo, storage: Storage, tmp_path: Path) -> None:
    videos = [draw_video(tmp_path / f"{seed}.mp4", seed=seed) for seed in range(4)]
    config = build_config(CONFIG, None, ["extraction.workers=2", "extraction.sampling_rate=5"])

    report = extract_missing(manifest(videos), config, storage)

    index = FeatureStore(storage, report.fingerprint).index()
    assert (report.extracted, index["frames"].to_list(), index["num_frames"].to_list()) == (4, [5] * 4, [24] * 4)


LONG = build_config(
    RunConfig(),
    None,
    ["extraction.part_frames=200", "extraction.batch_size=8", "extraction.crops=10", "extraction.workers=2"],
)
"""Parts of 208 frames."""


def test_parts_of_a_long_video_are_spread_over_workers_and_give_the_file_of_one_pass(
    draw_video: DrawVideo, storage: Storage, tmp_path: Path, steps: list[ExtractionProgress]
) -> None:
    long = draw_long(tmp_path / "long.mp4", 450, size=(48, 32))
    uncut = draw_long(tmp_path / "uncut.mp4", 220, size=(48, 32), options=REFRESH)  # its second part fails
    short, other = draw_video(tmp_path / "short.mp4"), Storage(str(tmp_path / "other"))

    # so small that they are taken for short, were their frames not known
    known = manifest([long, uncut, short]).with_columns(num_frames=pl.Series([450, 220, None]))

    report = extract_missing(known, LONG, storage)
    shown = list(steps)
    whole = extract_missing(manifest([long]), build_config(LONG, None, ["extraction.part_frames=100000"]), other)

    assert (report.extracted, report.quarantined, report.frames) == (3, 0, 450 + 220 + 24)
    found, expected = (FeatureStore(root, whole.fingerprint).index() for root in (storage, other))
    assert found.filter(pl.col("video") == str(long)).equals(expected)
    assert storage.read(expected.item(0, "object")) == other.read(expected.item(0, "object"))
    assert not [file.key for file in storage.files() if "/long/" in file.key]
    assert (shown[-1].done, shown[-1].total, shown[-1].seconds_left) == (3, 3, 0)
    assert len(shown) > 3  # parts tell of themselves
