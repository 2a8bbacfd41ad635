"""Scores of stored features, kept in the scratch folder: a video is scored once by a model."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from anomalyclip.evaluation.scoring import Scorer, score_stored
from anomalyclip.features.store import FeatureStore
from anomalyclip.settings import digest
from anomalyclip.storage import scratch, whole_file

FOLDER = "scores"


class ScoreCache:
    """Scores of videos by one model, read back if they were computed before."""

    def __init__(self, scorer: Scorer, store: FeatureStore, device: torch.device) -> None:
        self._scorer, self._store = scorer, store
        self._folder = scratch() / FOLDER / digest(scorer.digest, device.type, store.fingerprint)

    def scores(self, key: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scores `(count,)` and probabilities `(count, classes)` of an object of so many stored frames."""
        file = self._folder / f"{Path(key).stem}.safetensors"
        found = _read(file)
        if found is None:
            scores, probabilities = score_stored(self._scorer, self._store.iterate(key), count)
            found = {"scores": scores, "probabilities": probabilities}
            _write(file, found)
        return found["scores"], found["probabilities"]


def _read(file: Path) -> dict[str, NDArray[np.float32]] | None:
    try:
        return load_file(file)
    except (FileNotFoundError, SafetensorError):
        return None


def _write(file: Path, values: dict[str, NDArray[np.float32]]) -> None:
    with whole_file(file) as partial:
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, partial)
