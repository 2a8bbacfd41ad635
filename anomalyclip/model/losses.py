"""The seven loss terms of multiple-instance learning with semantic selection (Section 2, "Training")."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from anomalyclip.config import LossConfig
from anomalyclip.model.selector import segment_scores, select_segments, take_segments


@dataclass(frozen=True)
class Selection:
    """Segments selected by the Selector: `(abnormal videos, k)` twice and `(normal videos, k)`."""

    top_abnormal: Tensor
    bottom_abnormal: Tensor
    top_normal: Tensor


def semantic_selection(
    ranking: Tensor, labels: Tensor, k: int, keep_top: Tensor | None = None, keep_bottom: Tensor | None = None
) -> Selection:
    """Choose the top-K segments of every video and the bottom-K of the abnormal ones, without gradient.

    Args:
        ranking: values by which segments are ranked, `(videos, segments, abnormal classes)`, abnormal videos first.
        labels: `(abnormal videos,)`.
        keep_top: segment dropout mask `(videos, segments)` of the top-K selection, False if hidden.
        keep_bottom: the same of the bottom-K selection.
    """
    abnormal = len(labels)
    # the choice is discrete: gradients reach the chosen segments through the terms, not through the ranking
    scores = segment_scores(ranking.detach(), labels)
    top = select_segments(scores, k, keep_top, largest=True)
    # only an abnormal video has a bottom-K term: all segments of a normal one are normal anyway
    kept = None if keep_bottom is None else keep_bottom[:abnormal]
    bottom = select_segments(scores[:abnormal], k, kept, largest=False)
    return Selection(top[:abnormal], bottom, top[abnormal:])


def loss_terms(
    logits: Tensor, anomaly_logits: Tensor, labels: Tensor, selection: Selection, weights: LossConfig
) -> dict[str, Tensor]:
    """Return the seven weighted terms by name; the loss is their sum.

    Logarithms of the anomaly score s are taken from its logit: equal to log s and log(1 - s), but finite
    with a gradient that never vanishes if s rounds to 0 or 1.

    Args:
        logits: z `(videos, segments, frames, abnormal classes)`, abnormal videos first.
        anomaly_logits: logits of s `(videos, segments, frames)`.
        labels: `(abnormal videos,)`, indices of abnormal classes.
        selection: the segments chosen by `semantic_selection`.
        weights: lambda of each term.
    """
    abnormal = len(labels)
    own_class = labels[:, None, None, None]
    top_logits = take_segments(logits[:abnormal], selection.top_abnormal)
    top_own = _at_class(top_logits, own_class)
    top_own_log_probability = _at_class(F.log_softmax(top_logits, dim=-1), own_class)
    top_log_score = F.logsigmoid(take_segments(anomaly_logits[:abnormal], selection.top_abnormal))
    bottom = take_segments(anomaly_logits[:abnormal], selection.bottom_abnormal)
    top_normal = take_segments(anomaly_logits[abnormal:], selection.top_normal)
    abnormal_scores = anomaly_logits[:abnormal].sigmoid()
    # one sequence across videos, as the authors' code has it: leaving a crossing out moves gradients by 5e-4
    sequence = rearrange(abnormal_scores, "videos segments frames -> (videos segments frames)")
    terms = {
        "direction_abnormal": -top_own.mean(),
        "direction_normal": logits[abnormal:].amax(dim=-1).mean(),
        "top_k_abnormal": -(top_own_log_probability + top_log_score).mean(),
        "bottom_k_abnormal": -F.logsigmoid(-bottom).mean(),
        "top_k_normal": -F.logsigmoid(-top_normal).mean(),
        "smooth": sequence.diff().square().sum(),  # a sum, not a mean: its weight 8e-4 is made for one
        "sparse": abnormal_scores.mean(),
    }
    return {name: getattr(weights, name) * term for name, term in terms.items()}


def _at_class(values: Tensor, own_class: Tensor) -> Tensor:
    index = own_class.expand(*values.shape[:-1], 1)
    return torch.gather(values, -1, index).squeeze(-1)
