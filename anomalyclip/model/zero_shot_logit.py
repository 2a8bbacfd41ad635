"""Zero-shot CLIP's anomaly logit of single frames, on the scale of the training videos."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def anomaly_logit(logits: Tensor, normal_index: int) -> Tensor:
    """Return log p(abnormal) - log p(Normal) `(...)` of class logits `(..., classes)`.

    Its sigmoid is 1 - p(Normal), with all its digits where p(Normal) is nearly 1.
    """
    abnormal = torch.cat([logits[..., :normal_index], logits[..., normal_index + 1 :]], dim=-1)
    return abnormal.logsumexp(dim=-1) - logits[..., normal_index]


class ZeroShotLogit(nn.Module):
    """The logit of any abnormal class against Normal, by cosines of frame and text, standardised.

    Args:
        texts: text features `(classes, dim)`, of unit length times CLIP's scale.
        normal_index: the row of Normal.
    """

    texts: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, texts: Tensor, normal_index: int) -> None:
        super().__init__()
        self.normal_index = normal_index
        self.register_buffer("texts", texts)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def fit(self, frames: Tensor) -> None:
        """Take mean and standard deviation of the logit over frames of the training videos `(..., dim)`."""
        logits = self.raw(frames)
        deviation = logits.std(correction=0)
        self.mean.copy_(logits.mean())
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def raw(self, features: Tensor) -> Tensor:
        """Return log p(abnormal) - log p(Normal) `(...)` of CLIP's features `(..., dim)`."""
        return anomaly_logit(F.linear(F.normalize(features, dim=-1), self.texts), self.normal_index)

    def forward(self, features: Tensor) -> Tensor:
        """Return the standardised logit `(...)` of CLIP's features `(..., dim)`."""
        return (self.raw(features) - self.mean) / self.deviation
