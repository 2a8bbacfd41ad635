"""ActionCLIP head: Wang, Xing and Liu, "ActionCLIP: a new paradigm for video action recognition", 2021, on weak labels.

As the AnomalyCLIP paper adapts it: every clip carries its video's label, Normal included, without multiple instances.

Ours against the original, hence "head": the image tower is frozen, and of the text tower only the projection learns;
a sample is one segment of the method's clip, drawn by the seeded sampler; the prompt is the engineered one, not one of
16; the scale is CLIP's 100, fixed; the rate is 5e-5 on the configured schedule. p_A = 1 - p_Normal, p_A,c = p_c.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from anomalyclip.baselines.baseline import Baseline, text_of
from anomalyclip.baselines.transformer import Block
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig
from anomalyclip.data.labels import NORMAL
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model import schedule
from anomalyclip.model.engineered import engineered_hidden
from anomalyclip.model.selector import CLIP_SCALE

LAYERS, HEAD_DIM, POSITION_STD = 6, 64, 0.02
SHARPNESS = 10.0
"""Of the target: the softmax of this number for each sample of the same label, 0 for the others."""
LEARNING_RATE, WEIGHT_DECAY, BETAS, EPS = 5e-5, 0.2, (0.9, 0.98), 1e-8


class ActionCLIPOutput(NamedTuple):
    """Output for a batch of clips."""

    embedded: Tensor
    """The drawn segment's video feature, `(videos, dim)`."""


class ActionCLIP(Baseline):
    """A transformer over the frames of a segment, compared with the text of every class.

    Args:
        text_hidden: text of the abnormal classes, then of Normal, before the projection, `(classes, width)`.
        text_projection: CLIP's, `(width, dim)`; it learns.
    """

    title = "ActionCLIP head"
    text_hidden: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
        text_hidden: Tensor,
        text_projection: Tensor,
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        dim = len(normality_prototype)
        self.register_buffer("text_hidden", text_hidden)
        self.text_projection = nn.Parameter(text_projection)
        self.positions = nn.Parameter(POSITION_STD * torch.randn(config.frames_per_segment, dim))
        heads = 1 if dim % HEAD_DIM else dim // HEAD_DIM
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(LAYERS)))

    @classmethod
    def reads_text(cls, config: ModelConfig) -> bool:
        """Return True."""
        return True

    @classmethod
    def build(
        cls,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
        backbone: Backbone | None,
    ) -> Self:
        """Return an untrained model; raises UsageError without the features' text tower."""
        backbone = text_of(backbone, len(normality_prototype), cls.title)
        tower = text_tower(backbone.model)
        names = [*(name for name in classes if name != NORMAL), NORMAL]
        hidden = engineered_hidden(names, tower, backbone.tokenizer)
        projection = tower.text_projection.detach().clone()
        return cls(classes, normal_index, normality_prototype, config, hidden, projection)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> ActionCLIPOutput:
        """Return the feature of one segment per clip of `(videos, segments, frames, dim)`.

        The noise draws the segment; without it, it is the middle one.
        """
        videos, segments = features.shape[:2]
        chosen = torch.full((videos,), segments // 2) if noise is None else noise % segments
        return ActionCLIPOutput(self.embed(features[torch.arange(videos), chosen.cpu()]))

    def embed(self, segments: Tensor) -> Tensor:
        """Return features `(segments, dim)` of `(segments, frames, dim)`."""
        return (segments + self.blocks(segments + self.positions)).mean(dim=1).to(segments.dtype)

    def loss_terms(
        self,
        output: ActionCLIPOutput,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the divergences of both directions, from videos to texts and back, half each."""
        normal = labels.new_full((len(output.embedded) - len(labels),), len(self.classes) - 1)
        own = torch.cat([labels, normal])
        # validation gathers outputs on the CPU
        texts = (self.text_hidden @ self.text_projection).to(output.embedded)
        logits = self._compare(output.embedded, texts[own])
        target = (SHARPNESS * (own[:, None] == own[None, :]).to(logits.dtype)).softmax(dim=1)
        return {
            "video_to_text": 0.5 * F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean"),
            "text_to_video": 0.5 * F.kl_div(logits.T.log_softmax(dim=1), target, reduction="batchmean"),
        }

    def segment_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p_c of the abnormal classes, and the logit of 1 - p_Normal."""
        rows = rearrange(features, "videos segments frames dim -> (videos segments) frames dim")
        logits = self._compare(self.embed(rows), self.text_hidden @ self.text_projection)
        logits = rearrange(logits, "(videos segments) classes -> videos segments classes", videos=len(features))
        abnormal, normal = logits.log_softmax(dim=-1).tensor_split([len(self.classes) - 1], dim=-1)
        return abnormal, abnormal.logsumexp(dim=-1) - normal.squeeze(-1)

    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return AdamW with CLIP's moments."""
        return torch.optim.AdamW(
            self.learnt_parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=BETAS, eps=EPS
        )

    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the rate of the configured schedule with this method's highest rate."""
        return schedule.learning_rate(epoch, training.model_copy(update={"learning_rate": LEARNING_RATE}))

    @classmethod
    def from_bundle(
        cls, tensors: Mapping[str, Tensor], classes: Sequence[str], normal_index: int, config: ModelConfig
    ) -> Self:
        """Return a model with these weights."""
        names = ("normality_prototype", "text_hidden", "text_projection")
        prototype, hidden, projection = (torch.empty_like(tensors[name]) for name in names)
        model = cls(classes, normal_index, prototype, config, hidden, projection)
        model.load_state_dict(tensors)
        return model.eval()

    def _compare(self, embedded: Tensor, texts: Tensor) -> Tensor:
        return CLIP_SCALE * F.normalize(embedded, dim=-1) @ F.normalize(texts, dim=-1).T
