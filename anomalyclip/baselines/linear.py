"""Linear baseline: logistic regression on the mean features of whole videos, applied to every frame.

p_A = sigmoid(w · (x - mean) / deviation + b), fitted to the videos' labels; p_A,c = p_A · p(c|A), with p(c|A) of a
second, multinomial regression on the abnormal videos. It knows nothing of time, and is not smoothed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.model.frame_regression import STRENGTH, Doubles, fit_logistic, standardised
from anomalyclip.settings import digest

TENSORS, CARD = "linear.safetensors", "linear.json"
NAMES = ("mean", "deviation", "weight", "bias", "class_weight", "class_bias")


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fitted linear baseline."""

    classes: tuple[str, ...]
    """Normal among them."""
    tensors: dict[str, Tensor]
    """`mean` and `deviation` `(dim,)`, `weight` `(dim,)` and `bias` `()` of p_A, `class_weight` `(abnormal classes,
    dim)` and `class_bias` `(abnormal classes,)` of p(c|A), all float64."""

    @property
    def dim(self) -> int:
        """Numbers in a feature."""
        return len(self.tensors["mean"])

    @cached_property
    def digest(self) -> str:
        """Identifies classes and coefficients."""
        return digest(self.classes, {name: value.tolist() for name, value in self.tensors.items()})

    @torch.inference_mode()
    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Score stored features `(frames, dim)`.

        Returns p_A `(frames,)` and the probabilities `(frames, classes)`: p_A,c, and 1 - p_A of Normal.
        """
        t = self.tensors
        x = (features.double().cpu() - t["mean"]) / t["deviation"]
        scores = (x @ t["weight"] + t["bias"]).sigmoid()
        abnormal = scores[:, None] * (x @ t["class_weight"].T + t["class_bias"]).softmax(dim=-1)
        normal = self.classes.index(NORMAL)
        columns = [abnormal[:, :normal], 1 - scores[:, None], abnormal[:, normal:]]
        return scores.float(), torch.cat(columns, dim=-1).float()


def fit_linear(means: Doubles, labels: Sequence[str], classes: Sequence[str]) -> LinearModel:
    """Fit the baseline; the same input gives the same coefficients.

    Args:
        means: the mean feature of every training video, `(videos, dim)`.
        labels: the class of every training video, Normal among them.
        classes: all classes of the model in order; one without a training video gets the probability 0.

    Raises UsageError unless there are videos of both kinds.
    """
    abnormal = np.array([name != NORMAL for name in labels])
    if abnormal.all() or not abnormal.any():
        raise UsageError(f"{abnormal.sum()} abnormal and {(~abnormal).sum()} normal training videos: it needs both")
    x, mean, deviation = standardised(means)
    weight, bias = fit_logistic(x, abnormal.astype(int))
    names = [name for name in classes if name != NORMAL]
    own = np.array([names.index(name) for name in labels if name != NORMAL])
    class_weight, class_bias = _class_weights(x[abnormal], own, len(names))
    arrays = {"mean": mean, "deviation": deviation, "weight": weight[0], "bias": bias[0],
              "class_weight": class_weight, "class_bias": class_bias}  # fmt: skip
    return LinearModel(tuple(classes), {name: torch.tensor(value).double() for name, value in arrays.items()})


def save_linear(folder: Path, model: LinearModel) -> None:
    """Write a fitted baseline into a folder: coefficients in safetensors, the rest in JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.tensors, folder / TENSORS)
    (folder / CARD).write_text(json.dumps({"schema_version": 1, "classes": model.classes, "c": STRENGTH}, indent=2))


def load_linear(folder: Path) -> LinearModel:
    """Read what `save_linear` wrote; raises UsageError if files are missing or damaged."""
    try:
        classes = json.loads((folder / CARD).read_text())["classes"]
        tensors = load_file(folder / TENSORS)
        return LinearModel(tuple(classes), {name: tensors[name] for name in NAMES})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds no linear baseline: {error}") from None


def _class_weights(x: Doubles, own: NDArray[np.int64], count: int) -> tuple[Doubles, Doubles]:
    """Return weights and biases of p(c|A) for all abnormal classes; minus infinity for one without a video."""
    weight, bias = np.zeros((count, x.shape[1])), np.full(count, -np.inf)
    present = np.unique(own)
    bias[present] = 0.0
    if len(present) > 1:
        rows, biases = fit_logistic(x, own)
        # of two targets scikit-learn keeps the logit of the second alone
        weight[present[-len(rows) :]], bias[present[-len(rows) :]] = rows, biases
    return weight, bias
