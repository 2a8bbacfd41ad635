"""Multiple-instance ranking: Sultani, Chen and Shah, "Real-world anomaly detection in surveillance videos", CVPR 2018.

Ours against the original: segments are means of 16 frame features, L2-normalised, of the method's clips, where the
original pools the whole video to 32 segments of C3D; the batch is the configured one, not 30 + 30. It has no classes:
p_A,c = p_A / C.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.baselines.baseline import Baseline
from anomalyclip.baselines.noise import Noise, dropout
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig

DROPOUT = 0.6
SMOOTH = SPARSE = 8e-5
LEARNING_RATE = 0.01
L2 = 1e-3
"""Penalty on the squares of all weights, biases excepted."""


class SultaniOutput(NamedTuple):
    """Output for a batch of clips."""

    anomaly_logits: Tensor
    """Of the segments' scores s, `(videos, segments)`."""


class Sultani(Baseline):
    """dim -> 512 ReLU -> 32 -> 1 sigmoid, each segment alone."""

    title = "Sultani et al."

    def __init__(
        self, classes: Sequence[str], normal_index: int, normality_prototype: Tensor, config: ModelConfig
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        self.first = nn.Linear(len(normality_prototype), 512)
        self.second = nn.Linear(512, 32)
        self.score = nn.Linear(32, 1)
        for layer in (self.first, self.second, self.score):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> SultaniOutput:
        """Return the segments' logits of clips `(videos, segments, frames, dim)`."""
        drawn = None if noise is None else Noise(noise)
        segments = F.normalize(features.mean(dim=2), dim=-1)
        hidden = dropout(self.first(segments).relu(), DROPOUT, drawn)
        hidden = dropout(self.second(hidden), DROPOUT, drawn)  # linear, as the authors have it
        return SultaniOutput(self.score(hidden).squeeze(-1).to(features.dtype))

    def loss_terms(
        self,
        output: SultaniOutput,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the hinge over all pairs of an abnormal and a normal video, and two terms of the abnormal scores.

        The hinge is a sum over the abnormal videos and a mean over the normal ones; the others are sums.
        """
        scores = output.anomaly_logits.sigmoid()
        abnormal, normal = scores[: len(labels)], scores[len(labels) :]
        hinge = F.relu(1 - abnormal.amax(dim=1)[:, None] + normal.amax(dim=1)[None, :])
        return {
            "ranking": hinge.sum(dim=0).mean(),
            "sparse": SPARSE * abnormal.sum(),
            "smooth": SMOOTH * abnormal.diff(dim=1).square().sum(),
        }

    def segment_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return equal logits of all classes, and those of the scores."""
        anomaly_logits = self(features).anomaly_logits
        return anomaly_logits.new_zeros(*anomaly_logits.shape, len(self.classes) - 1), anomaly_logits

    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return Adagrad with the L2 penalty, whose gradient is twice its factor times the weight."""
        layers = (self.first, self.second, self.score)
        groups = [
            {"params": [layer.weight for layer in layers], "weight_decay": 2 * L2},
            {"params": [layer.bias for layer in layers], "weight_decay": 0.0},
        ]
        return torch.optim.Adagrad(groups, lr=LEARNING_RATE, eps=1e-8)

    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the authors' constant rate."""
        return LEARNING_RATE
