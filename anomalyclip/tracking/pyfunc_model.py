"""A registered model as MLflow loads it: this module and data files, no code from the registry.

Input: a row per video, with `path` (a video below `ANOMALYCLIP_VIDEO_ROOT`) or `features` (stored features
`(frames, dim)`). Output: a row per video, with the anomaly score and the probability of each class for every frame (for
every snippet, if the model reads snippets: how many frames they stand for is not known), or with `error`, one sentence
for the client: it names nothing of the server, whose log has the rest.
"""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema
from torch import Tensor

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.frame_folder import frame_paths, link_outside
from anomalyclip.data.video import DecodeError
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.scoring import bundle_scorer, score_features
from anomalyclip.features.backbone import load_stored_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.model.bundle import ModelCard, load_card
from anomalyclip.storage import Storage, default_root

log = logging.getLogger("anomalyclip")

VIDEO_ROOT = "ANOMALYCLIP_VIDEO_ROOT"


def model_signature(card: ModelCard) -> ModelSignature:
    """Return the columns that go in and come out; a column is null in rows that lack it.

    MLflow refuses a whole batch for one row of another type, whole numbers for decimals among them: so inputs have any
    type here, and each row is checked by itself.
    """
    inputs = [ColSpec(AnyType(), "path", required=False), ColSpec(AnyType(), "features", required=False)]
    per_frame = [ColSpec(Array(DataType.double), name, required=False) for name in score_columns(card)]
    outputs = [*per_frame, ColSpec(DataType.string, "error", required=False)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def score_columns(card: ModelCard) -> list[str]:
    """Return the names of the columns with a value per frame."""
    return ["score", *(f"p_{name}" for name in card.classes)]


class VideoScorer:
    """Scores videos given as files or as features; the backbone is read from the storage root when first needed."""

    def __init__(self, folder: Path) -> None:
        self._device = resolve_device()
        self._card, self._scorer = load_card(folder), bundle_scorer(folder, self._device)
        self._encoder: FrameEncoder | None = None

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return `score` and `p_<class>`, each a list with a value per frame, and `error`.

        A row that cannot be scored has an `error` and no scores; `error` is None in the others. No row raises: MLflow's
        server would answer a whole batch with a stack trace. Raises MlflowException if neither input column is there,
        for MLflow hands over no rows then, only the columns of the signature.
        """
        if not {"path", "features"} & set(model_input.columns):
            raise MlflowException.invalid_parameter_value("give a column `path` or `features`, with a row per video")
        rows = [self._answer(number, row) for number, row in enumerate(model_input.to_dict("records"))]
        empty = dict.fromkeys([*score_columns(self._card), "error"])
        return pd.DataFrame([empty | row for row in rows], columns=list(empty), dtype=object)

    def _answer(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._score(row)
        except UsageError as error:
            return {"error": str(error)}
        except Exception:  # one video must not cost the others of the batch their scores
            log.exception("row %d of a request cannot be scored", number)
            return {"error": "the server failed on this row; its log has the reason"}

    def _score(self, row: Mapping[str, Any]) -> dict[str, list[float]]:
        path, features = row.get("path"), row.get("features")
        has_path, has_features = _is_given(path), _is_given(features)
        if has_path == has_features:
            raise UsageError(f"give `path` or `features`{', not both' if has_path else ''}")
        given, frames = self._extract(allowed_path(path)) if has_path else self._checked(features)
        scores, probabilities = score_features(self._scorer, given, frames)
        columns = zip(score_columns(self._card), [scores, *probabilities.T], strict=True)
        return {name: values.tolist() for name, values in columns}

    def _checked(self, features: Any) -> tuple[Tensor, int]:
        """Return the features `(frames, 1, dim)` of a row, and the frames they stand for."""
        dim = self._scorer.dim
        try:
            tensor = torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in features]))
        except (ValueError, TypeError) as error:
            raise UsageError(f"`features` must be a matrix of numbers (frames, {dim}): {error}") from None
        if tensor.dim() != 2 or tensor.shape[1] != dim:
            raise UsageError(f"`features` must have the shape (frames, {dim}), not {tuple(tensor.shape)}")
        if not tensor.isfinite().all():
            raise UsageError("`features` have a value that is NaN or infinite")
        return tensor[:, None], len(tensor) * (self._card.sampling_rate or 1)

    def _extract(self, path: Path) -> tuple[Tensor, int]:
        """Return the features `(stored frames, crops, dim)` of a video, and how many frames it has."""
        if self._encoder is None:
            self._encoder = self._new_encoder()
        settings = ExtractionConfig(sampling_rate=self._card.sampling_rate)
        decoder = Decoder(settings.decode_timeout)
        try:
            batches = decoder.batches(path, settings.step, settings.batch_size)
            features = np.concatenate([self._encoder(frames) for frames in batches])
            return torch.from_numpy(features), decoder.info.num_frames
        except DecodeError as error:
            raise UsageError(f"the video cannot be decoded: {str(error).replace(str(path), path.name)}") from None
        finally:
            decoder.close()

    def _new_encoder(self) -> FrameEncoder:
        card = self._card
        if card.backbone_identity is None or card.sampling_rate is None:
            raise UsageError(f"give `features`: the model takes no videos, only the imported features {card.features}")
        try:
            backbone = load_stored_backbone(Storage(default_root()), card.backbone_identity)
        except UsageError as error:
            log.error("no video can be scored: %s", error)
            raise UsageError("give `features`: the server has no backbone to score videos with") from None
        return FrameEncoder(backbone, resolve_precision(card.precision, self._device), self._device, card.crops)


def allowed_path(path: object) -> Path:
    """Return a served path, resolved; raises UsageError for one outside of `ANOMALYCLIP_VIDEO_ROOT`."""
    root = os.environ.get(VIDEO_ROOT)
    if not root:
        raise UsageError(f"give `features`: the server scores no video by path, for {VIDEO_ROOT} is not set there")
    if not isinstance(path, str):
        raise UsageError(f"`path` must be a string, not {type(path).__name__}")
    try:
        resolved = (Path(root) / path).resolve()
        frames = frame_paths(resolved) if resolved.is_dir() else []
        is_video = resolved.is_file() or bool(frames)
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        raise UsageError(f"`path` {path[:200]!r} cannot be the name of a file") from None
    confined = Path(root).resolve()
    if not resolved.is_relative_to(confined) or link_outside(confined, frames):
        raise UsageError(f"`path` {path[:200]!r} is outside of the server's {VIDEO_ROOT}")
    if not is_video:
        raise UsageError(
            f"`path` {path[:200]!r} is neither a file nor a folder of frames below the server's {VIDEO_ROOT}"
        )
    return resolved


def _is_given(value: Any) -> bool:
    """Return whether a cell has a value: JSON's null arrives as None or NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _load_pyfunc(data_path: str) -> VideoScorer:
    return VideoScorer(Path(data_path))
