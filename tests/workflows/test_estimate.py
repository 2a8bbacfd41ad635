"""The sizing command: hours of footage or a manifest, rates given or measured, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyclip.errors import JobError, UsageError
from tests.commands import estimate

RATES = ["--encode", "5000", "--decode", "1000"]


def test_hours_of_footage_are_sized_for_each_power_of_two_of_gpus() -> None:
    found = estimate(["--hours", "1000", "--gpus", "6", *RATES])
    assert (found["videos"], found["frames"], found["cores_per_gpu"]) == (6000, 90_000_000, 5)
    assert [row["gpus"] for row in found["schedules"]] == [1, 2, 4, 6]
    assert found["schedules"][0]["hours"] == pytest.approx(5, rel=0.01)


def test_a_manifests_videos_are_sized_by_rates_that_are_measured_on_one(
    draw_video: Callable[..., Path], tmp_path: Path
) -> None:
    draw_video(tmp_path / "a.mp4", num_frames=200)
    (tmp_path / "b.mp4").write_bytes(b"x" * 40_960)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("video_id,path,split,labels,anomalies,num_frames\nb,b.mp4,train,,,\na,a.mp4,train,,,200\n")
    found = estimate([str(manifest), "--set", "extraction.batch_size=16"])
    assert (found["videos"], found["frames"]) == (2, 210)
    assert found["cores_per_gpu"] >= 1 and found["schedules"][0]["hours"] > 0
    assert [row["gpus"] for row in found["schedules"]] == [1]


def test_videos_that_cannot_be_measured_are_a_failure_in_one_line(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    (tmp_path / "b.mp4").write_bytes(b"x" * 40_960)
    manifest.write_text("video_id,path,split,labels,anomalies,num_frames\nb,b.mp4,train,,,\n")
    with pytest.raises(JobError, match="give --encode and --decode"):
        estimate([str(manifest)])


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "either MANIFEST or --hours"),
        (["--hours", "10"], "--encode and --decode"),
        (["--hours", "-1", *RATES], "--hours -1 must be above 0"),
        (["--hours", "1", "--gpus", "0", *RATES], "--gpus 0 must be above 0"),
        (["--hours", "inf", *RATES], "size a part"),
        (["--hours", "1", "--fps", "1e9", *RATES], "size a part"),
        (["--hours", "nan", *RATES], "--hours nan must be above 0"),
        (["--hours", "1", "--gpus", "1000000", *RATES], "more than 100,000"),
        (["no.csv"], "no.csv"),
    ],
)
def test_wrong_use_is_refused(options: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        estimate(options)
