"""Image-text contrastive loss with all captions of a picture's concept as positives."""

import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    images: Tensor, texts: Tensor, concepts: Tensor, logit_scale: Tensor, one_to_one: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of both directions against soft targets.

    Args:
        images: image features `(pictures, dim)`, normalised.
        texts: features of one caption of each, `(pictures, dim)`, normalised.
        concepts: what each picture shows, `(pictures,)`; the target of a row is uniform over its concept.
        logit_scale: factor on cosine similarities.
        one_to_one: part of the target that is each picture's own caption alone, as in CLIP's own loss.
    """
    logits = logit_scale * images @ texts.T
    same = (concepts[:, None] == concepts).to(logits.dtype)
    targets = (1 - one_to_one) * same / same.sum(dim=1, keepdim=True)
    targets.diagonal().add_(one_to_one)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
