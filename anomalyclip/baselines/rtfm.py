"""RTFM: Tian et al., "Weakly-supervised video anomaly detection with robust temporal feature magnitude learning", 2021.

With a classification head as the AnomalyCLIP paper gives it to detection methods: one linear layer on the block's
output F, Normal no class, cross entropy of the top-K segments that the method selects; p_A,c = p_A softmax(h)_c.

Ours against the originals:

- One crop; segments are means of 16 frame features of the method's clips; D and D/4 for 2,048 and 512.
- The margin 100 was made for I3D. There, ||F|| at step 0 is about sqrt((2048 + 20^2) / 0.3) = 90: batch norm gives the
  block 2,048 numbers of variance 1, the features' own norm is about 20 (a guess), dropout divides by 0.3. The margin
  here has the same ratio to the median ||F|| of the first batch; the weight of its term grows as its square shrinks.
- The paper freezes the trained base in evaluation mode and trains the head after it. Here the head trains beside the
  base, on F in evaluation mode without a gradient into it: the base is what it is without a head, and every epoch is a
  whole model that validation can choose.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.baselines.baseline import Baseline
from anomalyclip.baselines.multi_scale import MultiScale, Norm, xavier_init
from anomalyclip.baselines.noise import Noise, dropout
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig
from anomalyclip.model.selector import select_segments, take_segments

DROPOUT = 0.7
MARGIN, MAGNITUDE, SMOOTH, SPARSE = 100.0, 1e-4, 8e-4, 8e-3
MARGIN_OF_MEDIAN = 1.1
"""The margin in proportion to the median ||F|| at step 0 on I3D: 100 / 90."""
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 5e-3


class RTFMOutput(NamedTuple):
    """Output for a batch of clips."""

    features: Tensor
    """F after dropout, `(videos, segments, dim)`."""
    anomaly_logits: Tensor
    """Of the segments' scores s, `(videos, segments)`."""
    logits: Tensor
    """Of the classes, from F in evaluation mode, `(videos, segments, abnormal classes)`."""
    magnitudes: Tensor
    """||F|| in evaluation mode, by which the class head's segments are chosen, `(videos, segments)`."""


class ScoreHead(nn.Module):
    """dim -> 512 ReLU -> 128 ReLU -> 1, with dropout before every layer but the first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second, self.score = nn.Linear(dim, 512), nn.Linear(512, 128), nn.Linear(128, 1)

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Return logits `(videos, ...)` of `(videos, ..., dim)`."""
        hidden = dropout(self.first(x).relu(), DROPOUT, noise)
        hidden = dropout(self.second(hidden).relu(), DROPOUT, noise)
        return self.score(hidden).squeeze(-1)


class RTFM(Baseline):
    """Multi-scale block, selection by the magnitude of its output, score head and class head."""

    title = "RTFM"
    norm: ClassVar[Norm] = "batch"
    margin: Tensor
    """0 until the first step."""

    def __init__(
        self, classes: Sequence[str], normal_index: int, normality_prototype: Tensor, config: ModelConfig
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        dim = len(normality_prototype)
        self.register_buffer("margin", torch.zeros(()))
        self.block = MultiScale(dim, self.norm)
        self.head = ScoreHead(dim)
        self.classifier = nn.Linear(dim, len(classes) - 1)
        xavier_init(self)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> RTFMOutput:
        """Return features and logits of the segments of clips `(videos, segments, frames, dim)`."""
        drawn, segments = None if noise is None else Noise(noise), features.mean(dim=2)
        embedded = self.embed(segments, drawn)
        parts = embedded, self.head(embedded, drawn), *self.classify(segments)
        return RTFMOutput(*(part.to(features.dtype) for part in parts))

    def embed(self, segments: Tensor, noise: Noise | None) -> Tensor:
        """Return F `(videos, segments, dim)` of segments of the same shape."""
        return dropout(self.block(segments), DROPOUT, noise)

    def classify(self, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and ||F|| of segments, with the base in evaluation mode and without gradient into it."""
        training = self.training
        with torch.no_grad():
            embedded = self.eval().embed(segments, None)
        self.train(training)
        return self.classifier(embedded), embedded.norm(dim=-1)

    def loss_terms(
        self,
        output: RTFMOutput,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return RTFM's four terms and the class head's; the segment dropout mask is the method's own `keep_top`."""
        magnitudes = output.features.detach().norm(dim=-1)
        if self.training and not self.margin:
            self.margin.fill_(MARGIN_OF_MEDIAN * magnitudes.median())
        top = select_segments(magnitudes, self.config.k, keep_top, largest=True)
        named = select_segments(output.magnitudes, self.config.k, keep_top, largest=True)[: len(labels)]
        logits = take_segments(output.logits[: len(labels)], named).mean(dim=1)
        return {
            **magnitude_terms(output.features, output.anomaly_logits, top, len(labels), self.margin.item()),
            "classes": F.cross_entropy(logits, labels),
        }

    def segment_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the class head and of the scores."""
        output: RTFMOutput = self(features)
        return output.logits, output.anomaly_logits

    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return Adam, with weight decay on all but the class head."""
        head = list(self.classifier.parameters())
        base = [one for one in self.learnt_parameters() if all(one is not other for other in head)]
        groups = [{"params": base, "weight_decay": WEIGHT_DECAY}, {"params": head, "weight_decay": 0.0}]
        return torch.optim.Adam(groups, lr=LEARNING_RATE)

    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the authors' constant rate."""
        return LEARNING_RATE


def magnitude_terms(
    features: Tensor, anomaly_logits: Tensor, top: Tensor, abnormal: int, margin: float
) -> dict[str, Tensor]:
    """Return RTFM's weighted terms by name.

    Args:
        features: F `(videos, segments, dim)`, abnormal videos first.
        anomaly_logits: of the scores, `(videos, segments)`.
        top: indices of the selected segments, `(videos, k)`.
        abnormal: number of abnormal videos.
        margin: the magnitude that abnormal segments should have.
    """
    scores = anomaly_logits.sigmoid()
    truth = torch.zeros_like(scores[:, 0])
    truth[:abnormal] = 1
    magnitudes = take_segments(features, top).mean(dim=1).norm(dim=-1)
    pairs = min(abnormal, len(magnitudes) - abnormal)  # the i-th abnormal video with the i-th normal one
    apart = (margin - magnitudes[:pairs]).abs() + magnitudes[abnormal : abnormal + pairs]
    sequence = scores[:abnormal].flatten()  # one sequence across videos, as the authors' code has it
    return {
        "score": F.binary_cross_entropy(take_segments(scores, top).mean(dim=1), truth),
        "magnitude": MAGNITUDE * (MARGIN / margin) ** 2 * apart.square().mean(),
        "smooth": SMOOTH * sequence.diff().square().sum(),
        "sparse": SPARSE * sequence.norm(),
    }
