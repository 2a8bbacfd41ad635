"""Sources of class features; their offsets from normality are the directions of abnormality.

A direction source is a module that takes nothing and returns class features `(abnormal classes, dim)`:
E_T([t_ctx, t_c]) of the paper's Section 2. Row order is the order of the abnormal classes. The sources are the
rows of Table 3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.config import ModelConfig
from anomalyclip.model.method import TrainingFeatures
from anomalyclip.model.prompts import PromptLearner, Tokenizer

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower


class TextEncoder(nn.Module):
    """A text tower over token embeddings: shared and frozen, with its own text projection, which may learn."""

    attention_mask: Tensor | None

    def __init__(self, tower: "TextTower", learn_projection: bool = True) -> None:
        super().__init__()
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        # not persistent: it belongs to the architecture, and checkpoints hold only what is learnt
        self.register_buffer("attention_mask", tower.attn_mask, persistent=False)
        self.requires_grad_(False)
        self._has_bias = tower.has_bias
        # a copy, since it is fine-tuned: the backbone keeps CLIP's own
        self.text_projection = nn.Parameter(tower.text_projection.detach().clone(), requires_grad=learn_projection)

    def forward(self, prompts: Tensor, pooled_at: Tensor) -> Tensor:
        """Return text features `(prompts, dim)`, not normalised, of `(prompts, positions, width)`."""
        return self.hidden(prompts, pooled_at) @ self.text_projection

    def hidden(self, prompts: Tensor, pooled_at: Tensor) -> Tensor:
        """Return the same before the projection, `(prompts, rows of the projection)`."""
        positions = prompts.shape[1]
        # in a causal tower, positions after the longest prompt change nothing; cutting them is 4.6 times faster
        mask = None if self.attention_mask is None else self.attention_mask[:positions, :positions]
        hidden = self.transformer(prompts + self.positional_embedding[:positions], attn_mask=mask)
        hidden = self.ln_final(hidden)[torch.arange(len(prompts), device=prompts.device), pooled_at]
        return F.pad(hidden, (0, 1), value=1.0) if self._has_bias else hidden


class PromptDirections(nn.Module):
    """Class features of learnt prompts: CoOp with the text projection frozen, or by default fine-tuned with it."""

    abnormal_indices: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        abnormal_indices: Sequence[int],
        tower: "TextTower",
        tokenizer: Tokenizer,
        config: ModelConfig,
    ) -> None:
        super().__init__()
        self.prompt_learner = PromptLearner(
            classes,
            tokenizer,
            tower,
            context_length=config.context_length,
            context_text=config.context_text,
            shared_context=config.shared_context,
        )
        self.text_encoder = TextEncoder(tower, learn_projection=config.directions == "finetuned")
        self.register_buffer("abnormal_indices", torch.tensor(abnormal_indices), persistent=False)

    def forward(self) -> Tensor:
        """Return the class features `(abnormal classes, dim)`."""
        # Normal has a context but no direction, so its prompt needs no pass through the tower
        return self.text_encoder(*self.prompt_learner(self.abnormal_indices))


class FreeDirections(nn.Module):
    """Class features that are parameters, initialised from a normal distribution ("direct optimisation")."""

    def __init__(self, abnormal_classes: int, dim: int, std: float) -> None:
        super().__init__()
        self.class_features = nn.Parameter(torch.randn(abnormal_classes, dim) * std)

    @torch.no_grad()
    def start_at_means(self, training: TrainingFeatures) -> None:
        """Start at the mean feature of each class's training videos; a class without any keeps what was drawn."""
        for index in training.labels[training.labels >= 0].unique():
            self.class_features[index] = training.means[training.labels == index].mean(dim=0)

    def forward(self) -> Tensor:
        """Return the class features `(abnormal classes, dim)`."""
        return self.class_features


class FixedDirections(nn.Module):
    """Class features computed before: those of engineered prompts, and of every model at scoring."""

    class_features: Tensor

    def __init__(self, class_features: Tensor) -> None:
        super().__init__()
        self.register_buffer("class_features", class_features)

    def forward(self) -> Tensor:
        """Return the class features `(abnormal classes, dim)`."""
        return self.class_features
