"""The time left of an extraction, from results as workers give them: without a cluster."""

import polars as pl
import pytest

from anomalyclip.features.extraction_progress import ExtractionProgress, Progress
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.part_extraction import PartDone
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage

SCHEMA = {"video": pl.String(), "size": pl.Int64(), "mtime": pl.Int64(), "frames": pl.Int64()}


def after(
    storage: Storage, videos: list[tuple[str, int, int | None]], *results: ExtractionResult
) -> ExtractionProgress:
    """How far an extraction of videos (name, bytes, known frames) is after results."""
    missing = pl.DataFrame([(name, size, 0, frames) for name, size, frames in videos], schema=SCHEMA, orient="row")
    steps: list[ExtractionProgress] = []
    progress = Progress(FeatureStore(storage, "print"), missing, steps.append)
    for result in results:
        progress.add(result, "here")
    return steps[-1]


def done(name: str, size: int, frames: int, seconds: float = 100.0) -> ExtractionResult:
    return ExtractionResult(name, size, 0, name, frames, frames, 25.0, seconds=seconds)


def test_known_frames_decide_the_time_left_and_not_bytes(storage: Storage) -> None:
    step = after(storage, [("a", 1_000_000, 100), ("b", 1_000, 900)], done("a", 1_000_000, 100))
    assert step.seconds_left == pytest.approx(900, rel=0.01)


def test_frames_that_are_not_known_are_estimated_from_those_per_byte_so_far(storage: Storage) -> None:
    videos = [("a", 1_000, None), ("b", 1_000, None), ("c", 4_000, None)]
    assert after(storage, videos, done("a", 1_000, 100)).seconds_left == pytest.approx(500, rel=0.01)
    both = done("a", 1_000, 100), done("b", 1_000, 300, seconds=0)
    assert after(storage, videos, *both).seconds_left == pytest.approx(200, rel=0.01)  # 800 frames at 4 per second


def test_known_and_estimated_frames_add_up_to_nothing_at_the_end(storage: Storage) -> None:
    videos = [("a", 10, 50), ("b", 30, None), ("c", -1, None)]
    results = done("a", 10, 50), done("b", 30, 70), ExtractionResult("c", -1, -1, error="c: no such file")
    assert after(storage, videos, *results[:1]).seconds_left == pytest.approx(300, rel=0.01)
    assert after(storage, videos, *results).seconds_left == 0


def test_before_the_first_good_video_the_time_left_goes_by_their_number(storage: Storage) -> None:
    bad = ExtractionResult("a", 5, 0, "a", error="a: not a video", seconds=10.0)
    step = after(storage, [("a", 5, None), ("b", 1, None), ("c", 1, None)], bad)
    assert step.seconds_left == pytest.approx(20, rel=0.05)


def test_parts_count_their_frames_and_the_video_counts_the_rest(storage: Storage) -> None:
    videos = [("known", 1_000, 400), ("other", 1_000, None)]
    missing = pl.DataFrame([(name, size, 0, frames) for name, size, frames in videos], schema=SCHEMA, orient="row")
    steps: list[ExtractionProgress] = []
    progress = Progress(FeatureStore(storage, "print"), missing, steps.append)

    progress.add_part(PartDone("other", 50, 50, 100, seconds=50.0), "here")
    assert (steps[-1].done, steps[-1].frames) == (0, 50)
    assert steps[-1].seconds_left == pytest.approx(450, rel=0.01)  # 50 frames of this video, 400 of the other
    progress.add_part(PartDone("known", 300, 0, 400, seconds=0.0), "there")  # there before
    assert (steps[-1].frames, steps[-1].seconds_left) == (50, pytest.approx(150, rel=0.01))
    progress.add_part(PartDone("known", 100, 100, 400, seconds=0.0), "there")
    progress.add(done("known", 1_000, 400), "there")
    progress.add_part(PartDone("other", 50, 50, 100, seconds=0.0), "here")
    progress.add(done("other", 1_000, 100), "here")
    assert (steps[-1].done, steps[-1].frames, steps[-1].seconds_left) == (2, 200, 0)
    assert progress.nodes == {"here": 100, "there": 100}
