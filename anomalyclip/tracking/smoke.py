"""A registered model tried as a server uses it: loaded by MLflow, given one video."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd

from anomalyclip.errors import JobError
from anomalyclip.storage import Storage, scratch
from anomalyclip.tracking.pyfunc_model import VIDEO_ROOT
from anomalyclip.tracking.server import reason
from anomalyclip.tracking.verification import verified_copy

FRAMES = 32
"""Of the stand-in features of a model that cannot see videos."""


def smoke_scores(model: str, storage: Storage, video: Path | None) -> int:
    """Load a model by its URI, score one video, and return the number of frames that came out.

    Without a video it scores made-up features. Nothing is loaded before it is verified. Raises JobError if the model is
    refused, does not load, fails, or gives anything but a probability for every frame.
    """
    with _as_served(storage, video), TemporaryDirectory(dir=scratch()) as folder:
        try:
            loaded = mlflow.pyfunc.load_model(str(verified_copy(model, Path(folder))))
            given = {"features": _features(loaded)} if video is None else {"path": video.name}
            row = loaded.predict(pd.DataFrame([given])).iloc[0].to_dict()
            fault = row.pop("error", None)
            figures = None if fault else np.stack([np.asarray(values, dtype=np.float64) for values in row.values()])
        except Exception as error:  # whatever a model raises is its failing, not the job's
            raise JobError(reason(error)) from None
    if figures is None:
        raise JobError(str(fault))
    if figures.ndim != 2 or not figures.size or not ((figures >= 0) & (figures <= 1)).all():
        raise JobError("its output has no probability for every frame")
    return int(figures.shape[1])


def _features(loaded: mlflow.pyfunc.PyFuncModel) -> list[list[float]]:
    example = loaded.input_example
    row = [0.0] if example is None else np.asarray(example["features"].iloc[0])[0]
    return [list(map(float, row))] * FRAMES


@contextmanager
def _as_served(storage: Storage, video: Path | None) -> Iterator[None]:
    """Set the environment variables that a server reads."""
    settings = {"ANOMALYCLIP_STORAGE": storage.root, VIDEO_ROOT: str(video.parent if video else "")}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
