"""The whole model: re-centred features through Selector and Temporal model (Figure 2b)."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig
from anomalyclip.model import losses, schedule
from anomalyclip.model.directions import FixedDirections, FreeDirections
from anomalyclip.model.frame_regression import FrameRegression
from anomalyclip.model.method import Method, TrainingFeatures
from anomalyclip.model.new_classes import CONTEXT, PROJECTION, NewClasses, base_statistics, new_probabilities
from anomalyclip.model.selector import CosineSelector, Selector, segment_sums
from anomalyclip.model.smoothing import smooth
from anomalyclip.model.temporal import TemporalModel
from anomalyclip.model.zero_shot_logit import ZeroShotLogit

DIRECTIONS_COSINE = "directions/mean_cosine"
"""Name of the mean cosine between the directions of different classes, in metrics."""
_LEARNT_PROMPTS = {
    CONTEXT: "directions.prompt_learner.context",
    PROJECTION: "directions.text_encoder.text_projection",
}


class ClipOutput(NamedTuple):
    """Output for a batch of clips: the input of the loss."""

    logits: Tensor
    """Selector logits z, `(videos, segments, frames, abnormal classes)`."""
    anomaly_logits: Tensor
    """The logit of s, `(videos, segments, frames)`."""
    ranking: Tensor
    """Values by which segments are selected, without gradient, `(videos, segments, abnormal classes)`."""


class AnomalyCLIP(Method):
    """Selector and Temporal model on features x re-centred around the normality prototype.

    Args:
        directions: a direction source (`anomalyclip.model.directions`).
        classes: all class names in order.
        normal_index: position of Normal among them.
        normality_prototype: m, `(dim,)`.
        zero_shot: averaged in, if the configuration says so.
    """

    title = "AnomalyCLIP"
    deviation: Tensor
    """Standard deviation of each number over the training videos, `(dim,)`; 1 without `standardise`."""
    new: NewClasses | None
    """Classes beside the trained ones (`with_new_classes`)."""

    def __init__(
        self,
        directions: nn.Module,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
        zero_shot: ZeroShotLogit | None = None,
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        abnormal = len(classes) - 1
        dim = len(normality_prototype)
        self.directions = directions
        # part of checkpoints and bundles only where it is used: those of the paper's settings stay as they were
        self.register_buffer("deviation", torch.ones(dim), persistent=config.standardise)
        self.linear = FrameRegression(dim) if config.linear else None
        self.zero_shot = zero_shot
        self.register_module("new", None)  # not an attribute, which would hide that of a copy
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
        self.temporal.scale_positions(config.position_std)

    @classmethod
    def reads_text(cls, config: ModelConfig) -> bool:
        """Return whether the directions come from prompts, or zero-shot CLIP is averaged in."""
        return config.directions != "free" or bool(config.zero_shot)

    def prepare(self, training: TrainingFeatures) -> None:
        """Compute deviation, initial directions and what is averaged in from the training videos, as configured."""
        config = self.config
        if config.initial_directions == "class_means" and isinstance(self.directions, FreeDirections):
            self.directions.start_at_means(training)
        if not (config.standardise or config.linear or config.zero_shot):
            return
        frames = training.frames().to(self.deviation)
        if config.standardise:
            deviation = frames.flatten(0, 1).std(dim=0, correction=0)
            self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))
        if self.linear is not None:
            self.linear.fit(self.recentre(frames), training.labels >= 0)
        if self.zero_shot is not None:
            self.zero_shot.fit(frames)

    def diagnostics(self) -> dict[str, float]:
        """Return the mean cosine between the directions of different classes: near 1, they select the same segments."""
        if self.config.likelihood == "cosine":  # compares texts themselves, not their offsets
            return {}
        with torch.no_grad():
            directions = F.normalize((self.directions() - self.normality_prototype) / self.deviation, dim=-1)
        count = len(directions)
        if count < 2:
            return {}
        others = (directions @ directions.T).sum() - count
        return {DIRECTIONS_COSINE: others.item() / (count * (count - 1))}

    def forward(self, features: Tensor, noise: Tensor | None = None) -> ClipOutput:
        """Return logits of clips `(videos, segments, frames, dim)`; nothing is drawn here, so `noise` has no use."""
        x = self.recentre(features)
        with torch.autocast(features.device.type, enabled=False):  # offsets of close points need all their digits
            logits = self.selector(x, self.directions() / self.deviation, self.normality_prototype / self.deviation)
        inputs = torch.cat([logits, x], dim=-1) if self.config.concat_logits else x
        by_magnitude = self.config.selection == "magnitude"
        ranked_by = x.norm(dim=-1, keepdim=True).expand_as(logits) if by_magnitude else logits
        # summed per segment before workers exchange it, not after: there is less to gather
        return ClipOutput(logits, self.temporal(inputs), segment_sums(ranked_by.detach()))

    def loss_terms(
        self,
        output: ClipOutput,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the seven weighted terms of a whole batch by name."""
        selection = losses.semantic_selection(output.ranking, labels, self.config.k, keep_top, keep_bottom)
        return losses.loss_terms(output.logits, output.anomaly_logits, labels, selection, weights)

    def window_logits(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the logits of p_A of test windows: the mean of the Temporal model's and what is averaged in.

        The z of new classes come after those of the trained ones.
        """
        output: ClipOutput = self(windows)
        logits = output.logits
        if self.new is not None:
            logits = torch.cat([logits, self.new(self.recentre(windows))], dim=-1)
        parts = [output.anomaly_logits]
        parts += [] if self.linear is None else [self.linear(self.recentre(windows))]
        parts += [] if self.zero_shot is None else [self.zero_shot(windows)]
        return logits, torch.stack(parts).mean(dim=0)

    def along_video(self, logits: Tensor, anomaly_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return a whole video's logits, smoothed as configured."""
        std = self.config.smoothing
        return smooth(logits, std), smooth(anomaly_logits[:, None], std)[:, 0]

    def class_probabilities(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Return p_A,c and p_N `(frames, classes)`, and after them the probabilities of new classes, if any."""
        if self.new is None:
            return super().class_probabilities(logits, scores)
        trained, new = logits.split([len(self.classes) - 1, len(self.new.names)], dim=-1)
        return torch.cat(
            [super().class_probabilities(trained, scores), new_probabilities(trained, new, scores)], dim=-1
        )

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Names of the classes beside the trained ones (`with_new_classes`)."""
        return () if self.new is None else self.new.names

    def with_new_classes(self, names: Sequence[str], features: Tensor) -> "AnomalyCLIP":
        """Return a model for scoring that shares all weights and also scores classes that nobody trained.

        `features` are their text features `(names, dim)`, as `Prompts.new_features` makes them.
        """
        statistics = None
        if isinstance(self.selector, Selector):
            statistics = base_statistics(self.selector.batch_norm, len(names))
        new = NewClasses(names, features / self.deviation, self.normality_prototype / self.deviation, statistics)
        known = copy.copy(self)
        known._modules = {**self._modules, "new": new}
        return known.eval()

    def recentre(self, features: Tensor) -> Tensor:
        """Return the x of both models: offsets from the normality prototype m, or CLIP's own features.

        In the row "cosine sim." of Table 4 the column Features is CLIP; in the others it is CLIP - m. So the
        Temporal model gets features without re-centring too. With `standardise`, each number is divided by its
        deviation.
        """
        offsets = features if self.config.likelihood == "cosine" else features - self.normality_prototype
        return offsets / self.deviation if self.config.standardise else offsets

    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return AdamW."""
        # weight decay on all parameters, norms and biases too, as the authors train
        return torch.optim.AdamW(self.learnt_parameters(), lr=0.0, weight_decay=training.weight_decay)

    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the configured schedule's rate."""
        return schedule.learning_rate(epoch, training)

    @torch.no_grad()
    def for_scoring(self) -> "AnomalyCLIP":
        """Return a model that shares Selector and Temporal model but has its class features computed, for scoring."""
        # a shallow copy shares the weights: the text tower runs once per scoring, not once per video
        fixed = copy.copy(self)
        fixed._modules = {**self._modules, "directions": FixedDirections(self.directions().clone())}
        return fixed.eval()

    def bundle_tensors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the learnt state with the class features computed; the text tower is not needed then."""
        return bundle_tensors(weights, self.for_scoring().directions().cpu())

    @classmethod
    def from_bundle(
        cls, tensors: Mapping[str, Tensor], classes: Sequence[str], normal_index: int, config: ModelConfig
    ) -> "AnomalyCLIP":
        """Return a model that scores with the class features of the bundle."""
        state = {name: value for name, value in tensors.items() if not name.startswith("prompts.")}
        directions = FixedDirections(torch.empty_like(state["directions.class_features"]))
        texts = torch.empty_like(state["zero_shot.texts"]) if config.zero_shot else None
        zero_shot = None if texts is None else ZeroShotLogit(texts, normal_index)
        prototype = torch.empty_like(state["normality_prototype"])
        model = cls(directions, classes, normal_index, prototype, config, zero_shot)
        model.load_state_dict(state)
        return model.eval()


def bundle_tensors(state: Mapping[str, Tensor], class_features: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a bundle from a learnt state, with its prompts if it has any, and its class features."""
    kept = {name: value for name, value in state.items() if not name.startswith("directions.")}
    prompts = {ours: state[name] for ours, name in _LEARNT_PROMPTS.items() if name in state}
    return kept | prompts | {"directions.class_features": class_features.contiguous()}
