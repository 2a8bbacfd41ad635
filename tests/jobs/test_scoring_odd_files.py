"""A folder of files that are odd in every way: each that cannot be read costs itself alone."""

from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest

from anomalyclip import cluster
from anomalyclip.config import RunConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.errors import JobError
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.job import Job
from anomalyclip.jobs.operating import Asked
from anomalyclip.jobs.scored_media import Wanted
from anomalyclip.jobs.scoring import prepare, run
from anomalyclip.storage import Storage
from tests.registered import write_bundle

DrawVideo = Callable[..., Path]
GOOD = ["big", "one-frame", "turned", "variable"]
REASONS = {
    "cut": "cut off|moov|Invalid data",
    "empty": "an empty file",
    "no-frames": "holds no frames|Invalid data|no video stream",
    "sound": "no video stream",
    "text": "not a video",
}


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_without_frames(path: Path) -> None:
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def write_variable(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 8, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * 40 + max(0, number - 20) * 460, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path: Path, draw_video: DrawVideo) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    write_sound(folder / "sound.mp4")
    write_without_frames(folder / "no-frames.mp4")
    draw_video(folder / "one-frame.mp4", num_frames=1)
    draw_video(folder / "big.mp4", num_frames=2, width=3840, height=2160)
    whole = draw_video(tmp_path / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    draw_video(folder / "turned.mp4", width=64, height=48, rotation=90)
    write_variable(folder / "variable.mp4")
    return folder


def test_each_odd_file_is_scored_or_named_with_its_reason(
    folder: Path, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "connect", None)
    job = Job(storage, RunConfig(), None, False, "")
    model = write_bundle(tmp_path / "model", 0)
    prepared = prepare(job, str(model), [str(folder)], Asked(threshold=0.01), Wanted(clips=True))
    with closing(Decoder(timeout=20)) as decoder, pytest.raises(JobError, match="5 of 9 videos could not be") as error:
        run(job, prepared, decoder)
    result = error.value.result
    failures = pl.read_csv(result.paths["failures"])
    assert failures["video_id"].to_list() == list(REASONS)
    for reason, pattern in zip(failures["reason"], REASONS.values(), strict=True):
        assert "\n" not in reason
        assert pl.Series([reason]).str.contains(pattern).all(), reason
    table = read_predictions(Path(result.paths["predictions"]), need_truth=False)
    assert table.video_ids == tuple(GOOD)
    assert np.diff(table.offsets).tolist() == [2, 1, 24, 30]
    track = table.track(GOOD.index("variable"))
    assert track is not None
    np.testing.assert_allclose(track.edges[[0, 20, 21, 29]], [0, 0.8, 1.3, 5.3])
    events = pl.read_csv(result.paths["events"])
    assert events.filter(pl.col("video_id") == "variable")["end"].max() == pytest.approx(track.edges[-1])
    assert Path(result.paths["report"]).is_file()
