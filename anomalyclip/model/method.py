"""What training, scoring and bundles need of a method: AnomalyCLIP and its competitors fulfil it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig

WINDOWS_AT_ONCE = 32


class VideoScores(NamedTuple):
    """Output for a video, per stored feature."""

    logits: Tensor
    """Class logits z, `(stored features, abnormal classes)`."""
    scores: Tensor
    """Anomaly probability p_A, `(stored features,)`."""
    probabilities: Tensor
    """p_A,c of each abnormal class and p_N = 1 - p_A, `(stored features, classes)` in the order of the classes; after
    them those of new classes."""


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Features of the training videos, for what a method computes before its fit."""

    labels: Tensor
    """Index of each video's class among the abnormal ones, negative for a normal video, `(videos,)`."""
    means: Tensor
    """Mean feature of each video, `(videos, dim)`."""
    frames: Callable[[], Tensor]
    """Reads the same number of frames of each video, evenly spread: `(videos, frames, dim)`."""


class Method(nn.Module, ABC):
    """A method that learns from video-level labels and scores stored features.

    Args:
        classes: all class names in order.
        normal_index: position of Normal among them.
        normality_prototype: m, `(dim,)`; a method that does not re-centre keeps it for its size and its place.
    """

    title: ClassVar[str]
    """As it stands in tables."""
    normality_prototype: Tensor

    def __init__(
        self, classes: Sequence[str], normal_index: int, normality_prototype: Tensor, config: ModelConfig
    ) -> None:
        super().__init__()
        self.classes, self.normal_index, self.config = tuple(classes), normal_index, config
        self.register_buffer("normality_prototype", normality_prototype)

    @classmethod
    @abstractmethod
    def reads_text(cls, config: ModelConfig) -> bool:
        """Return whether the method needs a text tower."""

    def prepare(self, training: TrainingFeatures) -> None:
        """Compute what the method needs of the training videos before its fit; most need nothing."""

    def diagnostics(self) -> dict[str, float]:
        """Return figures of the model's state to log with an epoch."""
        return {}

    @abstractmethod
    def forward(self, features: Tensor, noise: Tensor | None = None) -> Any:
        """Return the input of the loss for clips `(videos, segments, frames, dim)`, abnormal videos first.

        It is a named tuple of tensors with one row per video, so that the rows of several workers can be gathered.
        `noise` holds a seed per video for what the method draws in a training step, `(videos,)`.
        """

    @abstractmethod
    def loss_terms(
        self,
        output: Any,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted loss terms of a whole batch by name; the loss is their sum.

        Args:
            output: of `forward`, with the rows of all videos of the batch, abnormal videos first.
            labels: of the abnormal videos, indices of abnormal classes.
            weights: of the terms of AnomalyCLIP; its competitors have weights of their own.
            keep_top: segment dropout mask `(videos, segments)`, False for a segment hidden from the top-K selection;
                None hides nothing.
            keep_bottom: the same for the bottom-K selection.
        """

    @abstractmethod
    def window_logits(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits `(windows, segments, frames, abnormal classes)` and logits of p_A, without the last axis.

        `windows` are test windows `(windows, segments, frames, dim)`.
        """

    @abstractmethod
    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return an optimiser of all learnt parameters; `learning_rate` sets its rate at every epoch."""

    @abstractmethod
    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the rate of an epoch, from 0."""

    @abstractmethod
    def for_scoring(self) -> Self:
        """Return a model in evaluation mode that shares the weights, with everything computed that no video changes."""

    @abstractmethod
    def bundle_tensors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what `from_bundle` reads back, of a model that has its `weights` (a checkpoint's) loaded."""

    @classmethod
    @abstractmethod
    def from_bundle(
        cls, tensors: Mapping[str, Tensor], classes: Sequence[str], normal_index: int, config: ModelConfig
    ) -> Self:
        """Return a model ready for scoring; raises KeyError or RuntimeError for tensors that do not fit."""

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Names of classes that nobody trained and the model scores besides; most methods cannot."""
        return ()

    def learnt_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def score_video(self, features: Tensor) -> VideoScores:
        """Score one video's stored features `(stored features, dim)`; the model must be in evaluation mode."""
        return self.score_videos([features])[0]

    @torch.inference_mode()
    def score_videos(self, videos: Sequence[Tensor]) -> list[VideoScores]:
        """Score several videos like `score_video`, their windows together in as few batches as possible."""
        windows = [video_windows(len(features), self.config) for features in videos]
        outputs = [self.window_logits(batch) for batch in self._batches(videos, windows)]
        logits, anomaly_logits = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        sizes = [len(each) for each in windows]
        parts = zip(videos, logits.split(sizes), anomaly_logits.split(sizes), strict=True)
        return [self._in_order(len(features), *each) for features, *each in parts]

    def _batches(self, videos: Sequence[Tensor], windows: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield `(windows, segments, frames, dim)`, a few at a time: memory does not grow with a video's length."""
        device = self.normality_prototype.device
        waiting, room = list[Tensor](), WINDOWS_AT_ONCE
        for features, own in zip(videos, windows, strict=True):
            while len(own):
                waiting.append(features[own[:room]])
                own, room = own[room:], room - len(waiting[-1])
                if not room:
                    yield torch.cat(waiting).to(device).float()
                    waiting, room = [], WINDOWS_AT_ONCE
        if waiting:
            yield torch.cat(waiting).to(device).float()

    def _in_order(self, count: int, logits: Tensor, anomaly_logits: Tensor) -> VideoScores:
        """Return the scores of a video with `count` stored features from the logits of its windows."""
        layout = "windows segments frames ... -> (segments windows frames) ..."
        logits, anomaly_logits = (
            repeat(rearrange(part, layout), "steps ... -> (steps stride) ...", stride=self.config.stride)[:count]
            for part in (logits, anomaly_logits)
        )
        logits, anomaly_logits = self.along_video(logits, anomaly_logits)
        scores = anomaly_logits.sigmoid()
        return VideoScores(logits, scores, self.class_probabilities(logits, scores))

    def along_video(self, logits: Tensor, anomaly_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return a whole video's logits in order of time, `(stored features, ...)`, changed by what is around them."""
        return logits, anomaly_logits

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
