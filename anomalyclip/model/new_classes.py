"""Classes that nobody trained, recognised by their names alone: directions of abnormality from learnt prompts.

The paper leaves it to future work. A new name c gets E_T([ctx, c]) with the mean of the learnt contexts and the learnt
text projection, its direction from the normality prototype, and an entry of Eq. 1's batch norm of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.model.directions import TextEncoder
from anomalyclip.model.engineered import engineered_features, engineered_prompts
from anomalyclip.model.prompts import PromptLearner, Tokenizer, fills_window, prompt_texts
from anomalyclip.model.selector import CosineSelector, GlobalBatchNorm, Selector

if TYPE_CHECKING:
    from anomalyclip.features.text_tower import TextTower

CONTEXT, PROJECTION = "prompts.context", "prompts.text_projection"
"""Tensors of a bundle: the learnt contexts `(classes or 1, tokens, width)` and the text projection if it was learnt."""


@dataclass(frozen=True)
class Prompts:
    """What encodes a class name as the training did."""

    tower: "TextTower"
    tokenizer: Tokenizer
    config: ModelConfig
    context: Tensor | None
    """The learnt contexts `(classes or 1, tokens, width)`; None for engineered prompts."""
    projection: Tensor | None
    """The learnt text projection `(width, dim)`; None: the tower's own."""

    def trained_features(self, names: Sequence[str], places: Sequence[int]) -> Tensor:
        """Return the text features `(names, dim)`, not normalised, of trained classes at these places of all."""
        if self.context is None or len(self.context) == 1:
            return self._features(names, self.context)
        return self._features(names, self.context[list(places)])

    def new_features(self, names: Sequence[str], abnormal: Sequence[int]) -> Tensor:
        """Return the text features `(names, dim)` of new names, after the mean of the contexts at abnormal places.

        Raises UsageError for a name that is too long for the text tower.
        """
        for name in names:
            if fills_window(self._texts(name), self.tokenizer):
                raise UsageError(f"--classes: {name} is too long for the text tower, with the prompt in front of it")
        if self.context is None or len(self.context) == 1:
            return self._features(names, self.context)
        # no loss reaches the context of Normal
        return self._features(names, self.context[list(abnormal)].mean(dim=0, keepdim=True))

    def _texts(self, name: str) -> list[str]:
        """Return the text of a name with words in place of the learnt context."""
        if self.context is None:
            return engineered_prompts([name])
        return prompt_texts([name], " ".join(["X"] * self.context.shape[1]))

    def _features(self, names: Sequence[str], context: Tensor | None) -> Tensor:
        if context is None:
            return engineered_features(names, self.tower, self.tokenizer).float()
        learner = PromptLearner(
            names,
            self.tokenizer,
            self.tower,
            context_length=context.shape[1],
            context_text=self.config.context_text,
            shared_context=len(context) == 1,
        )
        learner.context = nn.Parameter(context, requires_grad=False)
        encoder = TextEncoder(self.tower, learn_projection=False)
        if self.projection is not None:
            encoder.text_projection = nn.Parameter(self.projection, requires_grad=False)
        with torch.no_grad():
            return encoder(*learner(torch.arange(len(names)))).float()


def why_no_names(tensors: Mapping[str, Tensor], config: ModelConfig) -> str | None:
    """Return why a model, by the tensors of its bundle, cannot recognise classes by their names; None if it can."""
    if config.method != "anomalyclip":
        return f"a model of method {config.method} reads no class names"
    if config.directions == "free":
        return "the model's directions are free (model.directions=free): they come from no text"
    if config.directions != "engineered" and CONTEXT not in tensors:
        return f"the model's files lack its learnt prompts ({CONTEXT}): train or import it again"
    return None


def kept_prompts(
    tensors: Mapping[str, Tensor], config: ModelConfig, tower: "TextTower", tokenizer: Tokenizer
) -> Prompts:
    """Return the prompts of a model, from the tensors of its bundle; raises UsageError if it has none."""
    if (reason := why_no_names(tensors, config)) is not None:
        raise UsageError(f"--classes: {reason}")
    return Prompts(tower, tokenizer, config, tensors.get(CONTEXT), tensors.get(PROJECTION))


class NewClasses(nn.Module):
    """Likelihoods of classes by their names, beside those of a model.

    Args:
        names: of the new classes.
        features: their text features `(names, dim)`, divided by the model's deviation.
        prototype: the normality prototype m `(dim,)`, divided in the same way.
        statistics: mean and variance `(names,)` each of the projections on the new directions, for Eq. 1's batch norm;
            None for cosine similarity, which has no batch norm.
    """

    features: Tensor
    prototype: Tensor

    def __init__(
        self, names: Sequence[str], features: Tensor, prototype: Tensor, statistics: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("features", features)
        self.register_buffer("prototype", prototype)
        self.selector: CosineSelector | Selector = CosineSelector()
        if statistics is not None:
            self.selector = Selector(len(names))
            self.selector.batch_norm.running_mean, self.selector.batch_norm.running_var = statistics
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits z `(windows, segments, frames, names)` of re-centred `(windows, segments, frames, dim)`.

        The batch norm is that of Eq. 1, with statistics that were not learnt.
        """
        logits: Tensor = self.selector(x, self.features, self.prototype)
        return logits


def base_statistics(batch_norm: GlobalBatchNorm, count: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance `(count,)` each for the projections on new directions: the means of the trained ones'.

    Those of normal features, or of all training features, recognise new classes no better (docs/new-classes.md).
    """
    return batch_norm.running_mean.mean().repeat(count), batch_norm.running_var.mean().repeat(count)


def new_probabilities(logits: Tensor, new_logits: Tensor, scores: Tensor) -> Tensor:
    """Return p_A,n = p_A exp(z_n) / (exp(z_n) + sum of exp(z_c) over the trained classes), `(frames, names)`.

    Each new name competes with the trained classes alone, so that its probability does not depend on which other names
    are asked for, and those of the trained classes stay what they are without any.

    Args:
        logits: of the trained classes, `(frames, abnormal classes)`.
        new_logits: of the new names, `(frames, names)`.
        scores: p_A, `(frames,)`.
    """
    return scores[:, None] * (new_logits - logits.logsumexp(dim=-1, keepdim=True)).sigmoid()


class Near(NamedTuple):
    """A new name that is close to a trained class."""

    name: str
    trained: str
    cosine: float


def near_names(names: Sequence[str], features: Tensor, trained: Sequence[str], class_features: Tensor) -> list[Near]:
    """Return the new names whose text is closer to a trained class's than any two trained classes' are.

    By the cosine of their text features, `(names, dim)` and `(trained, dim)`; the bound is the model's own, since
    backbones differ in how close all texts are. Empty with fewer than two trained classes.
    """
    if len(trained) < 2:
        return []
    unit = F.normalize(class_features, dim=-1)
    among = (unit @ unit.T).fill_diagonal_(-1.0).max()
    cosine, nearest = (F.normalize(features, dim=-1) @ unit.T).max(dim=-1)
    found = zip(names, nearest.tolist(), cosine.tolist(), strict=True)
    return [Near(name, trained[place], value) for name, place, value in found if value > among]
