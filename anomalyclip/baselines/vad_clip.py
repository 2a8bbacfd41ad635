"""VadCLIP: Wu et al., "VadCLIP: adapting vision-language models for weakly supervised video anomaly detection", 2024.

Ours against the original: the 32 segments of the method's clips (means of 16 frame features) instead of up to 256
snippets, one crop; width D for 512, one head; lambda and window as on UCF-Crime; the rate falls at 40 and 80 % of the
epochs, as there (4 and 8 of 10). p_A = sigmoid(a); p_A,c = p_A softmax over the abnormal classes: the original has no
class figures per frame.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.baselines.baseline import Baseline, text_of
from anomalyclip.baselines.context_text import ContextText
from anomalyclip.baselines.local_global import LocalGlobal
from anomalyclip.baselines.transformer import wide_mlp
from anomalyclip.config import LossConfig, ModelConfig, TrainingConfig
from anomalyclip.data.labels import NORMAL
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.directions import FixedDirections

TEMPERATURE, APART = 0.07, 0.1
LEARNING_RATE, WEIGHT_DECAY, MILESTONES, FALL = 2e-5, 0.01, (0.4, 0.8), 0.1


class VadCLIPOutput(NamedTuple):
    """Output for a batch of clips."""

    anomaly_logits: Tensor
    """a, `(videos, segments)`."""
    logits: Tensor
    """Of the abnormal classes, then Normal, `(videos, segments, classes)`."""
    similarity: Tensor
    """Mean |cos| of the texts of Normal and of each abnormal class, the same for every video, `(videos,)`."""


class VadCLIP(Baseline):
    """A score per segment, and its likeness to the text of every class, which the video itself adjusts.

    Args:
        text: a module that returns the text features of the abnormal classes, then of Normal, `(classes, dim)`.
    """

    title = "VadCLIP"

    def __init__(
        self,
        classes: Sequence[str],
        normal_index: int,
        normality_prototype: Tensor,
        config: ModelConfig,
        text: nn.Module,
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        dim = len(normality_prototype)
        self.temporal = LocalGlobal(dim, config.segments)
        self.text = text
        self.text_mlp, self.score_mlp = wide_mlp(dim), wide_mlp(dim)
        self.score = nn.Linear(dim, 1)

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
        """Return an untrained model; raises UsageError without the features' text tower, or for names too long."""
        backbone = text_of(backbone, len(normality_prototype), cls.title)
        names = [*(name for name in classes if name != NORMAL), NORMAL]
        text = ContextText(names, text_tower(backbone.model), backbone.tokenizer)
        return cls(classes, normal_index, normality_prototype, config, text)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> VadCLIPOutput:
        """Return logits of the segments of clips `(videos, segments, frames, dim)`; nothing is drawn here."""
        x, text = self.temporal(features.mean(dim=2)), self.text()
        anomaly_logits = self.score(x + self.score_mlp(x)).squeeze(-1)
        # the visual prompt: the segments' sum, weighted by the raw logits
        prompt = F.normalize(torch.einsum("vs,vsd->vd", anomaly_logits, x), dim=-1)
        own_text = text + prompt[:, None]
        own_text = own_text + self.text_mlp(own_text)
        cosine = F.normalize(x, dim=-1) @ F.normalize(own_text, dim=-1).transpose(1, 2)
        similarity = F.cosine_similarity(text[:-1], text[-1:]).abs().mean().expand(len(features))
        dtype = features.dtype
        return VadCLIPOutput(anomaly_logits.to(dtype), (cosine / TEMPERATURE).to(dtype), similarity.to(dtype))

    def loss_terms(
        self,
        output: VadCLIPOutput,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the binary and the class term, each of the mean of the top segments, and that of the texts."""
        k = output.logits.shape[1] // 16 + 1
        abnormal = len(labels)
        scores = output.anomaly_logits.sigmoid().topk(k, dim=1).values.mean(dim=1)
        truth = torch.zeros_like(scores)
        truth[:abnormal] = 1
        own = labels.new_full((len(scores),), len(self.classes) - 1)
        own[:abnormal] = labels
        return {
            "score": F.binary_cross_entropy(scores, truth),
            "classes": F.cross_entropy(output.logits.topk(k, dim=1).values.mean(dim=1), own),
            "texts": APART * output.similarity.mean(),
        }

    def segment_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the abnormal classes, and a."""
        output: VadCLIPOutput = self(features)
        return output.logits[..., :-1], output.anomaly_logits

    def optimizer(self, training: TrainingConfig) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.learnt_parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def learning_rate(self, epoch: int, training: TrainingConfig) -> float:
        """Return the rate, a tenth from each milestone on."""
        return LEARNING_RATE * FALL ** sum(epoch >= part * training.num_epochs for part in MILESTONES)

    @torch.no_grad()
    def for_scoring(self) -> Self:
        """Return a model that shares all weights but has its text features computed."""
        fixed = copy.copy(self)
        fixed._modules = {**self._modules, "text": FixedDirections(self.text().clone())}
        return fixed.eval()

    def bundle_tensors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights with the text features computed; the text tower is not needed then."""
        kept = {name: value for name, value in weights.items() if not name.startswith("text.")}
        return kept | {"text.class_features": self.for_scoring().text().cpu().contiguous()}

    @classmethod
    def from_bundle(
        cls, tensors: Mapping[str, Tensor], classes: Sequence[str], normal_index: int, config: ModelConfig
    ) -> Self:
        """Return a model that scores with the text features of the bundle."""
        text = FixedDirections(torch.empty_like(tensors["text.class_features"]))
        model = cls(classes, normal_index, torch.empty_like(tensors["normality_prototype"]), config, text)
        model.load_state_dict(tensors)
        return model.eval()
