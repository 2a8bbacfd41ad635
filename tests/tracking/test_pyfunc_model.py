import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from anomalyclip.data.video import VideoReader
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone, save_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.methods import load_bundle
from anomalyclip.storage import Storage
from anomalyclip.tracking.pyfunc_model import VideoScorer, allowed_path
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import TrackedRun

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]
SCORES = ["score", "p_Arson", "p_Fighting", "p_Normal"]
COLUMNS = [*SCORES, "error"]


@pytest.fixture
def model(open_run: OpenRun, bundle: Path) -> Any:
    """The model as MLflow loads it."""
    with open_run() as tracking:
        version = register_model(tracking, log_model(tracking, bundle), "detector")
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


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
@pytest.mark.parametrize("as_list", [True, False])
def test_features_are_scored_frame_by_frame(model: Any, bundle: Path, dtype: type, as_list: bool) -> None:
    given: Any = (4 * features()).astype(dtype)
    (row,) = model.predict(pd.DataFrame({"features": [given.tolist() if as_list else given]})).to_dict("records")
    expected = load_bundle(bundle)[0].score_video(torch.from_numpy(given).float())
    assert list(row) == COLUMNS
    assert row["score"] == expected.scores.tolist()
    assert row["error"] is None
    for index, name in enumerate(SCORES[1:]):
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
    assert {len(rows[name][0]) for name in SCORES} == {50}
    assert scores == [scores[3 * (frame // 3)] for frame in range(50)]
    given = VideoScorer(new_bundle(3)).predict(pd.DataFrame({"features": [features(10)]}))
    assert len(given["score"][0]) == 30


def test_a_model_of_snippets_scores_each_snippet_and_no_video(
    new_bundle: Callable[[int | None], Path], videos: Path, draw_video: Callable[..., Path]
) -> None:
    draw_video(videos / "a.mp4")
    model = VideoScorer(new_bundle(None))
    assert len(model.predict(pd.DataFrame({"features": [features(10)]}))["score"][0]) == 10
    assert "give `features`" in model.predict(pd.DataFrame({"path": ["a.mp4"]}))["error"][0]


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


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"features": features()[:, :5]}, r"`features` must have the shape \(frames, 64\), not \(40, 5\)"),
    ({"features": features() * np.nan}, "`features` have a value that is NaN or infinite"),
    ({"features": []}, r"`features` must be a matrix of numbers \(frames, 64\)"),
    ({"features": [[0.0] * 64, [0.0]]}, r"`features` must be a matrix of numbers \(frames, 64\)"),
    ({"features": [["x"] * 64]}, r"`features` must be a matrix of numbers \(frames, 64\)"),
    ({"features": "a.npy"}, r"`features` must "),
    ({"features": 5}, r"`features` must be a matrix of numbers \(frames, 64\)"),
    ({"features": features(), "path": "a.mp4"}, "give `path` or `features`, not both"),
    ({"features": None, "path": None}, "give `path` or `features`$"),
    (
        {"path": "none.mp4"},
        "`path` 'none.mp4' is neither a file nor a folder of frames below the server's ANOMALYCLIP_V",
    ),
    ({"path": "../a.mp4"}, "`path` '../a.mp4' is outside of the server's ANOMALYCLIP_VIDEO_ROOT"),
    ({"path": "bad.mp4"}, r"the video cannot be decoded: bad\.mp4"),
    ({"path": 5}, "`path` must be a string, not int"),
]


def test_a_bad_row_has_an_error_and_costs_the_others_nothing(
    model: Any, videos: Path, storage: Storage, draw_video: Callable[..., Path]
) -> None:
    draw_video(videos / "good.mp4", num_frames=50)
    (videos / "bad.mp4").write_bytes(b"x" * 999)
    good = [{"path": "good.mp4"}, {"features": features().tolist()}]
    rows = model.predict(pd.DataFrame([good[0], *(row for row, _ in BAD_ROWS), good[1]])).to_dict("records")
    assert [len(row["score"]) for row in (rows[0], rows[-1])] == [50, 40]
    assert [row["error"] for row in (rows[0], rows[-1])] == [None, None]
    for row, (_, message) in zip(rows[1:-1], BAD_ROWS, strict=True):
        assert re.match(message, row["error"]), (message, row["error"])
        assert str(videos) not in row["error"] and storage.root not in row["error"]
        assert [row[name] for name in SCORES] == [None] * 4


def test_a_fault_of_the_server_costs_its_row_alone_and_is_in_its_log(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = VideoScorer(bundle)
    score = scorer._scorer.score

    def fails(given: torch.Tensor) -> Any:
        if len(given) == 3:
            raise RuntimeError("out of memory at /srv/secret")
        return score(given)

    monkeypatch.setattr(scorer, "_scorer", replace(scorer._scorer, score=fails))
    answers = scorer.predict(pd.DataFrame({"features": [features(3).tolist(), features(4).tolist()]}))
    assert answers["error"].tolist() == ["the server failed on this row; its log has the reason", None]
    assert len(answers["score"][1]) == 4
    assert "out of memory at /srv/secret" in caplog.text


def error_of(scorer: VideoScorer, path: str) -> str:
    (error,) = scorer.predict(pd.DataFrame({"path": [path]}))["error"]
    return str(error)


def test_a_path_that_leaves_the_root_is_refused(videos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"")
    (tmp_path / "videos-too").mkdir()
    (tmp_path / "videos-too" / "a.mp4").write_bytes(b"")
    (videos / "link.mp4").symlink_to(outside)
    for path in ("../outside.mp4", str(outside), "sub/../../outside.mp4", "link.mp4", "../videos-too/a.mp4"):
        with pytest.raises(UsageError, match="is outside of the server's ANOMALYCLIP_VIDEO_ROOT"):
            allowed_path(path)
    for path in ("none.mp4", "sub", "", "https://example.org/a.mp4", "concat:a.mp4|b.mp4"):
        with pytest.raises(UsageError, match="is neither a file nor a folder of frames below"):
            allowed_path(path)
    for path in ("a\0.mp4", "a" * 300):
        with pytest.raises(UsageError, match="cannot be the name of a file"):
            allowed_path(path)


def test_a_folder_of_frames_is_a_path_unless_a_picture_leaves_the_root(videos: Path, tmp_path: Path) -> None:
    (videos / "frames").mkdir()
    (videos / "frames/1.png").touch()
    assert allowed_path("frames") == videos / "frames"
    (tmp_path / "2.png").touch()
    (videos / "frames/2.png").symlink_to(tmp_path / "2.png")
    with pytest.raises(UsageError, match="is outside of the server's ANOMALYCLIP_VIDEO_ROOT"):
        allowed_path("frames")


def test_without_a_root_no_path_is_scored(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (videos / "a.mp4").write_bytes(b"")
    assert allowed_path("a.mp4") == videos / "a.mp4"
    monkeypatch.delenv("ANOMALYCLIP_VIDEO_ROOT")
    with pytest.raises(
        UsageError, match="give `features`: the server scores no video by path, for ANOMALYCLIP_VIDEO_ROOT is not set"
    ):
        allowed_path("a.mp4")


def test_a_backbone_that_is_not_stored_is_told_to_the_client_by_what_helps_and_to_the_log_by_its_place(
    bundle: Path, videos: Path, draw_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    draw_video(videos / "a.mp4")
    monkeypatch.setenv("ANOMALYCLIP_STORAGE", str(tmp_path / "empty"))
    error = error_of(VideoScorer(bundle), "a.mp4")
    assert error == "give `features`: the server has no backbone to score videos with"
    assert re.search(r"backbone \w+ is not in .*/empty", caplog.text)


def test_columns_of_other_names_are_refused_not_answered_with_nothing(model: Any) -> None:
    with pytest.raises(MlflowException, match="give a column `path` or `features`") as caught:
        model.predict(pd.DataFrame({"pth": ["a.mp4", "b.mp4"]}))
    assert caught.value.get_http_status_code() == 400
