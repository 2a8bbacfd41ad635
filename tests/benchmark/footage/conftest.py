"""Features of drawn clips, trainings on them and their figures, without Ray, storage or MLflow."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyclip.benchmark.footage.anomalies import ANOMALIES
from anomalyclip.benchmark.footage.videos import Clip, Size, anomalous, plan, write_clip
from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.predictions import Digests, Predictions, VideoPrediction
from anomalyclip.evaluation.predictions_file import read_predictions, write_predictions
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.backbone import Backbone, load_backbone
from anomalyclip.training.checkpoints import Checkpoint, load_learnt_state
from anomalyclip.training.fit import FitData, fit
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.training.setup import build_model, normality_prototype

CLASSES = sorted([*ANOMALIES, NORMAL], key=str.lower)
ABNORMAL = [name for name in CLASSES if name != NORMAL]
FRAMES_AT_ONCE = 64

Features = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Footage:
    """Drawn clips and their features, with what training reads of a feature cache."""

    clips: Sequence[Clip]
    features: dict[str, Features]
    backbone: Backbone
    classes: Sequence[str] = tuple(CLASSES)

    def split(self, name: str) -> list[Clip]:
        return [clip for clip in self.clips if clip.split == name]

    def bags(self, split: str) -> list[Bag]:
        return [
            Bag(clip.video_id, NORMAL_LABEL if clip.label == NORMAL else ABNORMAL.index(clip.label))
            for clip in self.split(split)
        ]

    def num_frames(self, video_id: str) -> int:
        return len(self.features[video_id])

    def video_frames(self, video_id: str) -> int:
        return self.num_frames(video_id)

    def crops(self, video_id: str) -> int:
        return 1

    def video(self, video_id: str) -> Features:
        return self.features[video_id][:, None]

    @property
    def dim(self) -> int:
        return next(iter(self.features.values())).shape[1]

    def gather(self, video_id: str, frames: NDArray[np.int64], crop: int, out: Features | None = None) -> Features:
        return np.take(self.features[video_id], frames, axis=0, out=out)

    def feature_sum(self, video_id: str) -> NDArray[np.float64]:
        return self.features[video_id].sum(axis=0, dtype=np.float64)


@dataclass
class InMemory:
    """The checkpoint of the best epoch."""

    best: Checkpoint | None = None

    def latest(self) -> None:
        return None

    def save(self, checkpoint: Checkpoint, keep: Sequence[int]) -> None:
        if checkpoint.epoch in keep:
            weights = {name: value.clone() for name, value in checkpoint.weights.items()}
            self.best = Checkpoint(checkpoint.epoch, weights, {}, [])


Scored = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Lab:
    """Draws, trains and measures."""

    folder: Path

    def draw(self, sizes: dict[str, Size]) -> Footage:
        """Draw and encode clips, and return their features from the embedded backbone."""
        clips = plan(sizes)
        folder = self.folder / str(len(clips))
        folder.mkdir()
        targets = [folder / f"{clip.video_id}.mp4" for clip in clips]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(write_clip, clips, targets, chunksize=2))
        backbone = load_backbone(BackboneConfig(weights="embedded"))
        features = {clip.video_id: _features(path, backbone) for clip, path in zip(clips, targets, strict=True)}
        return Footage(clips, features, backbone)

    def prototype(self, footage: Footage) -> torch.Tensor:
        """Return the mean feature of the normal training videos."""
        normal = [bag.video_id for bag in footage.bags("train") if bag.label == NORMAL_LABEL]
        return normality_prototype(footage, normal)  # type: ignore[arg-type]

    def train(self, footage: Footage, config: RunConfig, split: str = "test") -> Predictions:
        """Fit with video labels only, and score a split with the best epoch on the validation cameras."""
        model = build_model(CLASSES, footage.backbone, self.prototype(footage), config)
        checkpoints = InMemory()
        data = FitData(footage.bags("train"), footage.bags("val"), footage)  # type: ignore[arg-type]
        fit(model, data, config, checkpoints)  # type: ignore[arg-type]
        assert checkpoints.best is not None
        load_learnt_state(model, checkpoints.best.weights)
        scorer = model.eval().for_scoring()
        videos = [torch.from_numpy(footage.features[clip.video_id]) for clip in footage.split(split)]
        scores = [scorer.score_video(video) for video in videos]
        return self.predictions(footage, split, [(one.scores.numpy(), one.probabilities.numpy()) for one in scores])

    def zero_shot(self, footage: Footage, split: str = "test") -> Predictions:
        """Score a split with CLIP as it comes."""
        scorer = zero_shot(footage.backbone, CLASSES)
        scores = [scorer.score(torch.from_numpy(footage.features[clip.video_id])) for clip in footage.split(split)]
        return self.predictions(footage, split, [(one.numpy(), classes.numpy()) for one, classes in scores])

    def predictions(self, footage: Footage, split: str, scores: Scored) -> Predictions:
        """Return the predictions table of a split."""
        target = self.folder / "predictions.parquet"
        videos = (
            VideoPrediction(
                clip.video_id,
                [] if clip.label == NORMAL else [clip.label],
                [[clip.label] if flag else [] for flag in anomalous(clip)],
                *scored,
            )
            for clip, scored in zip(footage.split(split), scores, strict=True)
        )
        write_predictions(target, videos, CLASSES, Digests("drawn", "drawn", "drawn"), 16)
        return read_predictions(target)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("clips"))


def _features(path: Path, backbone: Backbone) -> Features:
    with av.open(str(path)) as video:
        pixels = torch.from_numpy(np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]))
    with torch.inference_mode():
        parts = [backbone.model.encode_image(backbone.preprocess(part)) for part in pixels.split(FRAMES_AT_ONCE)]  # type: ignore[operator]
    return torch.cat(parts).half().numpy()
