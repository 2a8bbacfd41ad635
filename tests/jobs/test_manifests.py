"""How many frames of a manifest are anomalous."""

import polars as pl
import pytest

from anomalyclip.data.schema import SCHEMA
from anomalyclip.jobs.manifests import anomalous_frames


@pytest.mark.parametrize(
    ("spans", "expected"),
    [([(0, 0)], 1), ([(3, 5), (7, 9)], 6), ([(7, 9), (3, 8)], 7), ([(0, 9), (2, 3), (9, 10)], 11), ([], 0)],
)
def test_a_frame_in_several_intervals_counts_once(spans: list[tuple[int, int]], expected: int) -> None:
    anomalies = [{"start": start, "end": end, "labels": []} for start, end in spans]
    row = ["a", "a.mp4", "test", ["Riot"], anomalies, None]
    assert anomalous_frames(pl.DataFrame([row, row], schema=SCHEMA, orient="row")) == 2 * expected


@pytest.mark.parametrize(("num_frames", "expected"), [(10, 10), (None, 6)])
def test_a_whole_video_counts_as_soon_as_its_length_is_known(num_frames: int | None, expected: int) -> None:
    anomalies = [{"start": start, "end": end, "labels": []} for start, end in [(0, None), (2, 4), (3, 7)]]
    row = ["a", "a.mp4", "test", ["Riot"], anomalies, num_frames]
    assert anomalous_frames(pl.DataFrame([row], schema=SCHEMA, orient="row")) == expected
