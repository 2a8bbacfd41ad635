"""The whole model: re-centred features through Selector and Temporal model (Figure 2b)."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from anomalyclip.config import ModelConfig
from anomalyclip.model.directions import FixedDirections
from anomalyclip.model.selector import CosineSelector, Selector, segment_sums
from anomalyclip.model.temporal import TemporalModel

WINDOWS_AT_ONCE = 32


class ClipOutput(NamedTuple):
    """Output for a batch of clips: the input of the loss."""

    logits: Tensor
    """Selector logits z, `(videos, segments, frames, abnormal classes)`."""
    anomaly_logits: Tensor
    """The logit of s, `(videos, segments, frames)`."""
    ranking: Tensor
    """Values by which segments are selected, without gradient, `(videos, segments, abnormal classes)`."""


class VideoScores(NamedTuple):
    """Output for a video, per stored feature."""

    logits: Tensor
    """Selector logits z, `(stored features, abnormal classes)`."""
    scores: Tensor
    """Anomaly probability p_A, `(stored features,)`."""
    probabilities: Tensor
    """p_A,c of each abnormal class and p_N = 1 - p_A, `(stored features, classes)` in the order of the classes."""


class AnomalyCLIP(nn.Module):
    """Selector and Temporal model on features x re-centred around the normality prototype.

    Args:
        directions: a direction source (`anomalyclip.model.directions`).
        classes: all class names in order.
        normal_index: position of Normal among them.
        normality_prototype: m, `(dim,)`.
    """

    normality_prototype: Tensor

    def __init__(
        self,
        directions: nn.Module,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
    ) -> None:
        super().__init__()
        self.classes, self.normal_index, self.config = tuple(classes), normal_index, config
        abnormal = len(classes) - 1
        dim = len(normality_prototype)
        self.directions = directions
        self.register_buffer("normality_prototype", normality_prototype)
        self.selector = CosineSelector() if config.likelihood == "cosine" else Selector(abnormal)
        self.temporal = TemporalModel(
            dim + abnormal if config.concat_logits else dim,
            config.embedding_dim,
            config.heads,
            config.depth,
            config.segments,
            config.frames_per_segment,
            config.temporal,
        )

    def forward(self, features: Tensor) -> ClipOutput:
        """Return logits of clips `(videos, segments, frames, dim)`."""
        x = self.recentre(features)
        with torch.autocast(features.device.type, enabled=False):  # offsets of close points need all their digits
            logits = self.selector(x, self.directions(), self.normality_prototype)
        inputs = torch.cat([logits, x], dim=-1) if self.config.concat_logits else x
        by_magnitude = self.config.selection == "magnitude"
        ranked_by = x.norm(dim=-1, keepdim=True).expand_as(logits) if by_magnitude else logits
        # summed per segment before workers exchange it, not after: there is less to gather
        return ClipOutput(logits, self.temporal(inputs), segment_sums(ranked_by.detach()))

    def recentre(self, features: Tensor) -> Tensor:
        """Return the x of both models: offsets from the normality prototype m, or CLIP's own features.

        In the row "cosine sim." of Table 4 the column Features is CLIP; in the others it is CLIP - m. So the
        Temporal model gets features without re-centring too.
        """
        return features if self.config.likelihood == "cosine" else features - self.normality_prototype

    @torch.no_grad()
    def with_fixed_directions(self) -> "AnomalyCLIP":
        """Return a model that shares Selector and Temporal model but has its class features computed, for scoring."""
        # a shallow copy shares the weights: the text tower runs once per scoring, not once per video
        fixed = copy.copy(self)
        fixed._modules = {**self._modules, "directions": FixedDirections(self.directions().clone())}
        return fixed.eval()

    @torch.inference_mode()
    def score_video(self, features: Tensor) -> VideoScores:
        """Score one video's stored features `(stored features, dim)`; the model must be in evaluation mode."""
        device = self.normality_prototype.device
        # in groups, so that memory does not grow with the length of a video
        windows = video_windows(len(features), self.config).split(WINDOWS_AT_ONCE)
        outputs = [self(features[part].to(device).float()) for part in windows]
        layout = "windows segments frames ... -> (segments windows frames) ..."
        stride, count = self.config.stride, len(features)
        logits, anomaly_logits = (
            repeat(rearrange(torch.cat(parts), layout), "steps ... -> (steps stride) ...", stride=stride)[:count]
            for parts in zip(*((output.logits, output.anomaly_logits) for output in outputs), strict=True)
        )
        scores = anomaly_logits.sigmoid()
        return VideoScores(logits, scores, self.class_probabilities(logits, scores))

    def class_probabilities(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Return p_A,c = p_A softmax(z)_c and p_N = 1 - p_A, `(frames, classes)` in the order of the classes."""
        abnormal = scores[:, None] * logits.softmax(dim=-1)
        normal = 1 - scores[:, None]
        before, after = abnormal[:, : self.normal_index], abnormal[:, self.normal_index :]
        return torch.cat([before, normal, after], dim=-1)


def video_windows(num_features: int, config: ModelConfig) -> Tensor:
    """Return the indices `(windows, segments, frames)` of the stored features that make a video's test windows.

    Every window spreads its segments over the whole video: of s windows, the global segment g is row g // s of
    window g % s. Indices continue at the start after the end of the video.
    """
    segments, frames, stride = config.segments, config.frames_per_segment, config.stride
    # the Temporal model learnt on clips that span a whole video: windows of neighbouring frames would be foreign to it
    windows = -(-num_features // (segments * frames * stride))
    steps = torch.arange(windows * segments * frames) * stride % num_features
    return rearrange(steps, "(segments windows frames) -> windows segments frames", windows=windows, frames=frames)
