"""The Selector: the likelihood of each abnormal class (Section 2, Eq. 1; Table 4), and the choice of segments."""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from anomalyclip.model.collectives import all_reduce_sum

CLIP_SCALE = 100.0
"""The scale of CLIP's cosine similarities at the end of its training."""


class GlobalBatchNorm(nn.Module):
    """Batch normalisation without affine parameters over the rows of all data-parallel workers.

    Works on CPUs too, and its gradient is that of one worker that holds the whole batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, rows: Tensor) -> Tensor:
        """Return `(rows, features)` with zero mean and unit variance over all rows of all workers."""
        if not self.training:
            return (rows - self.running_mean) * torch.rsqrt(self.running_var + self.eps)
        # sums, not means of means: statistics and gradients are those of one worker; SyncBatchNorm refuses CPUs
        count = all_reduce_sum(rows.new_tensor(float(len(rows))))
        mean = all_reduce_sum(rows.sum(dim=0)) / count
        centred = rows - mean
        # two passes: the mean of squares minus the squared mean would lose digits
        variance = all_reduce_sum(centred.square().sum(dim=0)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            # unbiased here and biased above, as PyTorch's batch norm: released running statistics were made so
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return centred * torch.rsqrt(variance + self.eps)


class Selector(nn.Module):
    """S(x) = [P(x, d_1), ..., P(x, d_C)] with P(x, d) = BN(x . d / |d|), the likelihood of each class (Eq. 1)."""

    def __init__(self, num_abnormal: int) -> None:
        super().__init__()
        self.batch_norm = GlobalBatchNorm(num_abnormal)

    def forward(self, centred: Tensor, class_features: Tensor, normality_prototype: Tensor) -> Tensor:
        """Return the logits z `(videos, segments, frames, abnormal classes)`.

        Args:
            centred: frame features minus the normality prototype, `(videos, segments, frames, dim)`.
            class_features: `(abnormal classes, dim)`, not normalised.
            normality_prototype: `(dim,)`.
        """
        # no epsilon: the formula divides by the plain length
        directions = F.normalize(class_features - normality_prototype, dim=-1, eps=0.0)
        videos, segments, frames, _ = centred.shape
        rows = rearrange(centred, "videos segments frames dim -> (videos segments frames) dim")
        logits = self.batch_norm(F.linear(rows, directions))
        return rearrange(
            logits, "(videos segments frames) classes -> videos segments frames classes",
            videos=videos, segments=segments, frames=frames,
        )  # fmt: skip


class CosineSelector(nn.Module):
    """z = 100 cos(x, E_T,c) in CLIP's own space, without re-centring or batch norm (Table 4, "cosine sim.")."""

    def forward(self, features: Tensor, class_features: Tensor, _: Tensor) -> Tensor:
        """Return the logits z `(videos, segments, frames, abnormal classes)` of `(videos, segments, frames, dim)`."""
        return CLIP_SCALE * F.linear(F.normalize(features, dim=-1), F.normalize(class_features, dim=-1))


def segment_sums(values: Tensor) -> Tensor:
    """Return `(videos, segments, classes)`, the sum over each segment's frames: S(S) of Section 2 for logits z."""
    return reduce(values, "videos segments frames classes -> videos segments classes", "sum")


def segment_scores(ranking: Tensor, labels: Tensor) -> Tensor:
    """Return the value by which each segment is ranked in its video, `(videos, segments)`.

    Args:
        ranking: `(videos, segments, abnormal classes)`, abnormal videos first.
        labels: classes `(abnormal videos,)`; an abnormal video uses its own class, a normal one the sum of all.
    """
    abnormal = ranking[torch.arange(len(labels), device=labels.device), :, labels]
    # a normal video has no class of its own: its hardest segments are those that any class claims
    return torch.cat([abnormal, ranking[len(labels) :].sum(dim=-1)])


def select_segments(scores: Tensor, k: int, keep: Tensor | None = None, *, largest: bool) -> Tensor:
    """Return the indices `(videos, k)` of the segments with the k largest or smallest scores, best first.

    Args:
        scores: `(videos, segments)`.
        keep: `(videos, segments)` bool, False for a segment that segment dropout hides. If fewer than k
            stay, hidden ones follow in the order of their index.
    """
    ranked = scores if largest else -scores
    if keep is not None:
        ranked = ranked.masked_fill(~keep, -torch.inf)
    # stable, so that ties and hidden segments come in the order of their index on every device
    return ranked.sort(dim=-1, descending=True, stable=True).indices[:, :k]


def take_segments(values: Tensor, indices: Tensor) -> Tensor:
    """Return the chosen segments `(videos, k, ...)` of `(videos, segments, ...)`."""
    return values[torch.arange(len(values), device=values.device)[:, None], indices]
