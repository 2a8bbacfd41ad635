"""A company with a folder of clips: two commands to a registered model."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from anomalyclip.data.video import VideoReader
from tests.commands import make_manifest, train

pytestmark = pytest.mark.cluster

CLASSES = {"normal": "ein Gang #{}.mp4", "Prügelei im Hof": "Übergriff #{} (é).mp4"}


@pytest.fixture(scope="module")
def own_clips(draw_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips a class with spaces, accents and `#` in their names, one of them as frames, and intervals of three."""
    root = tmp_path_factory.mktemp("own") / "Kamera 1 #süd"
    for seed, (folder, name) in enumerate(CLASSES.items()):
        (root / folder).mkdir(parents=True)
        for number in range(5):
            draw_video(root / folder / name.format(number), num_frames=40 + number, seed=10 * seed + number)
    frames = np.concatenate(list(VideoReader(root / "normal/ein Gang #0.mp4")))
    (root / "normal/ein Gang #0.mp4").unlink()
    (root / "normal/ein Gang #0").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(root / f"normal/ein Gang #0/Bild {number}.png"), frame)
    rows = [f"Prügelei im Hof/Übergriff #{number} (é).mp4,{5 + number}-20" for number in range(3)]
    (root / "anomalies.csv").write_text("\n".join(["path,anomalies", *rows]), encoding="utf-8")
    return root


def test_a_folder_of_ones_own_becomes_a_registered_model_with_figures(
    ray_session: None, own_clips: Path, storage_root: Path, options: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = make_manifest(["folder", str(own_clips)])
    assert made["manifest"] == str(own_clips / "manifest.csv")
    settings = [*options, "--set", "training.epochs=2", "--name", "own"]
    result = train([made["manifest"], "--storage", str(storage_root), *settings])
    for doubt in (
        "fewer than 200 are seldom enough",
        "clip-tiny has seen drawn pictures",
        "too few videos to tell the model from chance",
    ):
        assert doubt in caplog.text
    assert result["quarantined"] == 0 and int(result["model_version"]) >= 1
    assert math.isfinite(result["auc"]) and math.isfinite(result["m_auc"])
    scored = pl.read_parquet(Path(result["paths"]["evaluation"]) / "predictions.parquet")
    ids = set(scored["video_id"])
    assert len(ids) == 3 and all("#" in video_id for video_id in ids)
    assert {"p_Normal", "p_Prügelei im Hof"} < set(scored.columns)
    anomalous = scored.filter(pl.col("labels").list.len() > 0)
    assert set(anomalous["labels"].explode()) == {"Prügelei im Hof"}
