"""Logistic regression on the features of single frames: no Temporal model, no segment selection."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from numpy.typing import NDArray
from torch import Tensor, nn

STRENGTH = 0.01
"""C of the regression, the inverse weight of the L2 penalty on standardised features."""
STEPS, TOLERANCE = 1000, 1e-8
"""Most steps of the solver, and the gradient at which it stops: a few dozen steps."""

Doubles = NDArray[np.float64]


def standardised(rows: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return `(rows, dim)` with mean 0 and deviation 1 in each number, and both `(dim,)`."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)  # a number that never varies tells nothing
    return (rows - mean) / deviation, mean, deviation


def fit_logistic(rows: Doubles, target: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    """Return weights `(logits, dim)` and biases `(logits,)`: one logit for two targets, else one per target."""
    from sklearn.linear_model import LogisticRegression  # here, since it takes a second to import

    fitted: Any = LogisticRegression(C=STRENGTH, max_iter=STEPS, tol=TOLERANCE).fit(rows, target)
    return fitted.coef_, fitted.intercept_


class FrameRegression(nn.Module):
    """The logit w . x + b of a frame, fitted once, before training, to frames that have the label of their video."""

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(dim))
        self.register_buffer("bias", torch.zeros(()))

    def fit(self, frames: Tensor, abnormal: Tensor) -> None:
        """Fit to `(videos, frames, dim)` and the videos' labels `(videos,)`, True for an abnormal one."""
        rows = rearrange(frames, "videos frames dim -> (videos frames) dim").double().cpu().numpy()
        target = repeat(abnormal, "videos -> (videos frames)", frames=frames.shape[1]).long().cpu().numpy()
        x, mean, deviation = standardised(rows)
        weights, biases = fit_logistic(x, target)
        weight = weights[0] / deviation
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.tensor(biases[0] - weight @ mean))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(...)` of `(..., dim)`."""
        return F.linear(x, self.weight[None])[..., 0] + self.bias
