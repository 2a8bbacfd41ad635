import numpy as np
import pytest

from anomalyclip.config import ExtractionConfig
from anomalyclip.features.sizing import BLOCK_SECONDS, START_SECONDS, Rates, block_frames, simulate, size

WHOLE = ExtractionConfig()
RATES = Rates(encode=5000.0, decode=1000.0)


def test_one_gpu_takes_the_frames_at_its_rate() -> None:
    found = size(np.full(1000, 15_000), WHOLE, RATES, 512, [1])
    (only,) = found.schedules
    assert (found.videos, found.frames, found.cores_per_gpu) == (1000, 15_000_000, 5)
    assert only.hours * 3600 == pytest.approx(START_SECONDS + 3000, rel=0.02)
    assert (only.gpu_hours, found.cost(3.0)) == (only.hours, 3 * only.hours)
    assert found.gigabytes == pytest.approx(15_000_000 * 1028 / 1e9)


def test_skipped_frames_are_decoded_but_not_encoded() -> None:
    found = size(np.full(1000, 16_000), ExtractionConfig(sampling_rate=16), RATES, 512, [1])
    assert (found.frames, found.cores_per_gpu) == (1_000_000, 80)


def test_few_cores_limit_a_gpu() -> None:
    many, few = (size(np.full(1000, 15_000), WHOLE, RATES, 512, [1], cores).schedules[0].hours for cores in (5, 1))
    assert few == pytest.approx(5 * many, rel=0.05)


def test_it_stops_scaling_where_blocks_are_handed_out_too_slowly() -> None:
    most = BLOCK_SECONDS * RATES.encode  # frames of a block that a GPU encodes while one is handed out
    found = size(np.full(200_000, 2000), WHOLE, RATES, 512, [1, 16, 32, 64, 256])
    assert 2000 / most == pytest.approx(50)
    assert found.scales_to == 32
    assert [schedule.efficiency > 0.8 for schedule in found.schedules] == [True, True, True, False, False]
    assert found.schedules[-1].hours * 3600 == pytest.approx(200_000 * BLOCK_SECONDS + START_SECONDS, rel=0.02)


def test_the_longest_video_bounds_the_end() -> None:
    assert simulate(np.array([100_000, 10, 10]), 64, 5000.0, 1000.0) == pytest.approx(100.0)


def test_small_videos_share_blocks_and_no_frame_is_lost() -> None:
    frames = np.random.default_rng(0).integers(1, 5000, 10_000)
    blocks = block_frames(frames, 15_000)
    assert blocks.sum() == frames.sum() and len(blocks) < len(frames)
    assert block_frames(np.full(640, 10), 15_000).tolist() == [640] * 10


def test_long_videos_are_parts() -> None:
    assert block_frames(np.array([40_000, 10]), 15_000).tolist() == [15_000, 15_000, 10_000, 10]
