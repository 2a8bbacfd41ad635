from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from anomalyclip.data.video import VideoReader
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, save_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.model.bundle import load_bundle
from anomalyclip.storage import Storage
from anomalyclip.tracking.pyfunc_model import VideoScorer, allowed_path
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]
COLUMNS = ["score", "p_Arson", "p_Fighting", "p_Normal"]


@pytest.fixture
def model(open_run: OpenRun, bundle: Path) -> Any:
    """The model as MLflow loads it."""
    with open_run() as tracking:
        version = register_model(tracking, log_model(tracking, bundle), "detector", None)
    return mlflow.pyfunc.load_model(f"models:/detector/{version}")


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Storage, backbone: Backbone) -> Path:
    """The folder of videos that may be scored, with the backbone where models look for it."""
    save_backbone(backbone, storage)
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", storage.root)
    monkeypatch.setenv("ANOMALYCLIP_VIDEO_ROOT", str(tmp_path / "videos"))
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    return tmp_path / "videos"


def features(frames: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, 64))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("as_list", [True, False])
def test_features_are_scored_frame_by_frame(model: Any, bundle: Path, dtype: type, as_list: bool) -> None:
    given: Any = features().astype(dtype)
    (row,) = model.predict(pd.DataFrame({"features": [given.tolist() if as_list else given]})).to_dict("records")
    expected = load_bundle(bundle)[0].score_video(torch.from_numpy(given).float())
    assert list(row) == COLUMNS
    assert row["score"] == expected.scores.tolist()
    for index, name in enumerate(COLUMNS[1:]):
        assert row[name] == expected.probabilities[:, index].tolist()


def test_a_served_video_is_scored_frame_by_frame(
    model: Any, videos: Path, bundle: Path, backbone: Backbone, draw_video: Callable[..., Path]
) -> None:
    video = draw_video(videos / "sub" / "a b.mp4", num_frames=50)
    given = pd.DataFrame({"path": ["sub/a b.mp4", None, str(video)], "features": [None, features().tolist(), None]})
    rows = model.predict(given)
    device = resolve_device()
    encoder = FrameEncoder(backbone, resolve_precision("auto", device), device)
    frames = np.concatenate(list(VideoReader(video)))
    expected = load_bundle(bundle)[0].score_video(torch.from_numpy(encoder(frames)[:, 0]))
    assert list(rows) == COLUMNS
    assert [len(scores) for scores in rows["score"]] == [50, 40, 50]
    np.testing.assert_allclose(rows["score"][0], expected.scores.numpy(), atol=1e-4)
    assert rows["score"][0] == rows["score"][2]


def test_scores_are_repeated_to_cover_the_frames_between(
    new_bundle: Callable[[int], Path], videos: Path, draw_video: Callable[..., Path]
) -> None:
    draw_video(videos / "a.mp4", num_frames=50)
    rows = VideoScorer(new_bundle(3)).predict(pd.DataFrame({"path": ["a.mp4"]}))
    scores = rows["score"][0]
    assert {len(rows[name][0]) for name in COLUMNS} == {50}
    assert scores == [scores[3 * (frame // 3)] for frame in range(50)]
    given = VideoScorer(new_bundle(3)).predict(pd.DataFrame({"features": [features(10)]}))
    assert len(given["score"][0]) == 30


def test_a_served_video_is_seen_in_the_models_crops(
    new_bundle: Callable[..., Path], videos: Path, backbone: Backbone, draw_video: Callable[..., Path]
) -> None:
    frames = np.concatenate(list(VideoReader(draw_video(videos / "a.mp4", num_frames=50))))
    rows = VideoScorer(new_bundle(crops=5)).predict(pd.DataFrame({"path": ["a.mp4"]}))
    device = resolve_device()
    features = FrameEncoder(backbone, resolve_precision("auto", device), device, crops=5)(frames)
    model = load_bundle(new_bundle(crops=5))[0]
    each = [model.score_video(crop) for crop in torch.from_numpy(features).unbind(dim=1)]
    np.testing.assert_allclose(rows["score"][0], np.mean([crop.scores for crop in each], axis=0), atol=1e-4)
    arson = np.mean([crop.probabilities[:, 0] for crop in each], axis=0)
    np.testing.assert_allclose(rows["p_Arson"][0], arson, atol=1e-4)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"features": features()[:, :5]}, r"row 0: .* shape \(frames, 64\); got \(40, 5\)"),
        ({"features": features() * np.nan}, "NaN"),
        ({"features": []}, r"must be a matrix \(frames, dim\)"),
        ({"features": [[0.0] * 64, [0.0]]}, r"must be a matrix \(frames, dim\)"),
        ({"features": features(), "path": "a.mp4"}, "exactly one of `path` and `features`"),
        ({"features": None, "path": None}, "exactly one of `path` and `features`"),
    ],
)
def test_a_row_that_cannot_be_scored_is_refused(bundle: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VideoScorer(bundle).predict(pd.DataFrame([row]))


def test_a_path_that_leaves_the_root_is_refused(videos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"")
    (tmp_path / "videos-too").mkdir()
    (tmp_path / "videos-too" / "a.mp4").write_bytes(b"")
    (videos / "link.mp4").symlink_to(outside)
    for path in ("../outside.mp4", str(outside), "sub/../../outside.mp4", "link.mp4", "../videos-too/a.mp4"):
        with pytest.raises(UsageError, match="is outside of ANOMALYCLIP_VIDEO_ROOT"):
            allowed_path(path)
    for path in ("none.mp4", "sub", "", "https://example.org/a.mp4", "concat:a.mp4|b.mp4"):
        with pytest.raises(UsageError, match="is not a file below ANOMALYCLIP_VIDEO_ROOT"):
            allowed_path(path)
    for path in ("a\0.mp4", "a" * 300):
        with pytest.raises(UsageError, match="cannot be a file's"):
            allowed_path(path)


def test_a_folder_of_frames_is_a_path_unless_a_picture_leaves_the_root(videos: Path, tmp_path: Path) -> None:
    (videos / "frames").mkdir()
    (videos / "frames/1.png").touch()
    assert allowed_path("frames") == videos / "frames"
    (tmp_path / "2.png").touch()
    (videos / "frames/2.png").symlink_to(tmp_path / "2.png")
    with pytest.raises(UsageError, match="is outside of ANOMALYCLIP_VIDEO_ROOT"):
        allowed_path("frames")


def test_without_a_root_no_path_is_scored(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (videos / "a.mp4").write_bytes(b"")
    assert allowed_path("a.mp4") == videos / "a.mp4"
    monkeypatch.delenv("ANOMALYCLIP_VIDEO_ROOT")
    with pytest.raises(UsageError, match="set ANOMALYCLIP_VIDEO_ROOT"):
        allowed_path("a.mp4")


def test_a_video_that_cannot_be_decoded_is_refused(bundle: Path, videos: Path) -> None:
    (videos / "a.mp4").write_bytes(b"x" * 999)
    with pytest.raises(UsageError, match=r"`path` cannot be scored: .*a\.mp4"):
        VideoScorer(bundle).predict(pd.DataFrame({"path": ["a.mp4"]}))


def test_a_backbone_that_is_not_stored_is_refused(
    bundle: Path, videos: Path, draw_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw_video(videos / "a.mp4")
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match=r"backbone \w+ is not in .*/empty"):
        VideoScorer(bundle).predict(pd.DataFrame({"path": ["a.mp4"]}))


def test_a_column_of_another_name_is_refused_not_answered_with_nothing(bundle: Path) -> None:
    with pytest.raises(UsageError, match="a column `path` or a column `features`"):
        VideoScorer(bundle).predict(pd.DataFrame({"pth": ["a.mp4"]}))
