"""A registered model as MLflow loads it: this module and data files, no code out of the registry.

One row a video, with `path` (a video below `ANOMALYCLIP_VIDEO_ROOT`) or `features` (stored features
`(frames, dim)`); out come, a row a video, the anomaly score and the probability of each class for every frame.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema
from torch import Tensor

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.frame_folder import frame_paths, link_out_of
from anomalyclip.data.video import DecodeError
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.crops import mean_over_crops
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.decoder import Decoder
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.model.bundle import ModelCard, load_bundle
from anomalyclip.storage import Storage, default_root

VIDEO_ROOT = "ANOMALYCLIP_VIDEO_ROOT"


def model_signature(card: ModelCard) -> ModelSignature:
    """Return the columns that go in and come out."""
    per_frame = Array(DataType.double)
    inputs = [ColSpec(DataType.string, "path", required=False), ColSpec(Array(per_frame), "features", required=False)]
    outputs = [ColSpec(per_frame, name) for name in ("score", *(f"p_{name}" for name in card.classes))]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


class VideoScorer:
    """Scores videos given as files or as features; the backbone is read from the storage root when first needed."""

    def __init__(self, folder: Path) -> None:
        self._device = resolve_device()
        model, self._card = load_bundle(folder)
        self._model = model.to(self._device)
        self._encoder: FrameEncoder | None = None

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return `score` and `p_<class>`, each a list with an entry a frame; raises UsageError for a bad row."""
        if not {"path", "features"} & set(model_input.columns):
            raise UsageError("give a column `path` or a column `features`, a row a video")
        rows = []
        for number, row in enumerate(model_input.to_dict("records")):
            try:
                rows.append(self._score(row))
            except UsageError as error:
                raise UsageError(f"row {number}: {error}") from None
        return pd.DataFrame(rows)

    def _score(self, row: Mapping[str, Any]) -> dict[str, list[float]]:
        path, features = row.get("path"), row.get("features")
        if isinstance(path, str) == isinstance(features, list | np.ndarray):
            raise UsageError("exactly one of `path` and `features` is needed")
        given, frames = self._extract(allowed_path(path)) if isinstance(path, str) else self._checked(features)
        _, scores, probabilities = mean_over_crops(self._model.score_video, given)
        columns = {"score": scores}
        columns |= {f"p_{name}": probabilities[:, i] for i, name in enumerate(self._card.classes)}
        rate = self._card.sampling_rate
        return {name: values.repeat_interleave(rate)[:frames].tolist() for name, values in columns.items()}

    def _checked(self, features: Any) -> tuple[Tensor, int]:
        """Return the features `(frames, 1, dim)` of a row, and the frames they stand for."""
        try:
            tensor = torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in features]))
        except ValueError as error:
            raise UsageError(f"`features` must be a matrix (frames, dim): {error}") from None
        dim = len(self._model.normality_prototype)
        if tensor.dim() != 2 or tensor.shape[1] != dim:
            raise UsageError(f"`features` must have the shape (frames, {dim}); got {tuple(tensor.shape)}")
        if not tensor.isfinite().all():
            raise UsageError("`features` hold NaN or infinity")
        return tensor[:, None], len(tensor) * self._card.sampling_rate

    def _extract(self, path: Path) -> tuple[Tensor, int]:
        """Return the features `(stored frames, crops, dim)` of a video, and how many frames it has."""
        if self._encoder is None:
            self._encoder = self._new_encoder()
        settings = ExtractionConfig()
        decoder = Decoder(settings.decode_timeout)
        try:
            batches = decoder.batches(path, self._card.sampling_rate, settings.batch_size)
            features = np.concatenate([self._encoder(frames) for frames in batches])
            return torch.from_numpy(features), decoder.info.num_frames
        except DecodeError as error:
            raise UsageError(f"`path` cannot be scored: {str(error).replace(str(path), path.name)}") from None
        finally:
            decoder.close()

    def _new_encoder(self) -> FrameEncoder:
        card = self._card
        if card.backbone_identity is None:
            raise UsageError(f"the model understands imported features ({card.features}) only: give `features`")
        backbone = load_stored_backbone(Storage(default_root()), card.backbone_identity)
        return FrameEncoder(backbone, resolve_precision(card.precision, self._device), self._device, card.crops)


def allowed_path(path: str) -> Path:
    """Return a served path, resolved; raises UsageError for one outside of `ANOMALYCLIP_VIDEO_ROOT`."""
    root = os.environ.get(VIDEO_ROOT)
    if not root:
        raise UsageError(f"set {VIDEO_ROOT} to the folder whose videos may be scored by path")
    try:
        resolved = (Path(root) / path).resolve()
        frames = frame_paths(resolved) if resolved.is_dir() else []
        is_video = resolved.is_file() or bool(frames)
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        raise UsageError(f"path {path!r} cannot be a file's") from None
    confined = Path(root).resolve()
    if not resolved.is_relative_to(confined) or link_out_of(confined, frames):
        raise UsageError(f"path {path!r} is outside of {VIDEO_ROOT}")
    if not is_video:
        raise UsageError(f"path {path!r} is not a file below {VIDEO_ROOT}, nor a folder of frame pictures")
    return resolved


def _load_pyfunc(data_path: str) -> VideoScorer:
    return VideoScorer(Path(data_path))
