"""What the competitors share: one vector per segment, scores that hold for the segment's frames, bundles."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone
from anomalyclip.model.method import Method


def text_of(backbone: Backbone | None, dim: int, title: str) -> Backbone:
    """Return the backbone whose text tower belongs to features of `dim` numbers; raises UsageError without one."""
    if backbone is None or backbone.dim != dim:
        text = f"text features of {backbone.name} have {backbone.dim}" if backbone else "there is no text tower"
        raise UsageError(
            f"{title} reads class names: features have {dim} numbers, but {text}: set another model.method"
        )
    return backbone


class Baseline(Method):
    """A competitor that sees the mean of a segment's frames, without re-centring."""

    @classmethod
    def reads_text(cls, config: ModelConfig) -> bool:
        """Return False: most competitors know the classes by number only."""
        return False

    @classmethod
    def build(
        cls,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
        backbone: Backbone | None,
    ) -> Self:
        """Return an untrained model; raises UsageError if it needs a text tower that the features do not have."""
        return cls(classes, normal_index, normality_prototype, config)

    @abstractmethod
    def segment_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits `(videos, segments, abnormal classes)` and logits of p_A `(videos, segments)`.

        `features` are clips `(videos, segments, frames, dim)`; the model is in evaluation mode.
        """

    def window_logits(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the segments' logits, repeated for each of their frames."""
        logits, anomaly_logits = self.segment_logits(windows)
        frames = windows.shape[2]
        return logits[:, :, None].expand(-1, -1, frames, -1), anomaly_logits[:, :, None].expand(-1, -1, frames)

    def for_scoring(self) -> Self:
        """Return the model itself, in evaluation mode: nothing needs to be computed before."""
        return self.eval()

    def bundle_tensors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights as they are."""
        return dict(weights)

    @classmethod
    def from_bundle(
        cls, tensors: Mapping[str, Tensor], classes: Sequence[str], normal_index: int, config: ModelConfig
    ) -> Self:
        """Return a model with these weights."""
        model = cls(classes, normal_index, torch.empty_like(tensors["normality_prototype"]), config)
        model.load_state_dict(tensors)
        return model.eval()
