"""Zero-shot CLIP, the baseline that needs no training: frames compared with the text of engineered prompts.

p_c = softmax over all classes of exp(logit scale) · cos(frame, text of c); the anomaly score is 1 - p_Normal.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.engineered import engineered_features, engineered_prompts
from anomalyclip.model.zero_shot_logit import anomaly_logit
from anomalyclip.settings import digest

SEGMENT = 16
"""Stored frames in a segment for video-level scores, as in the paper; zero-shot CLIP itself has no segments."""


@dataclass(frozen=True, eq=False)
class ZeroShotCLIP:
    """CLIP without training, with a text feature per class."""

    classes: tuple[str, ...]
    """Normal among them."""
    text_features: Tensor
    """`(classes, dim)`, float32; their length does not matter."""
    logit_scale: float
    """Factor of the cosine, exp of CLIP's own parameter."""
    digest: str
    """Identifies backbone, prompts and classes."""

    @torch.inference_mode()
    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Score stored features `(frames, dim)`, which need neither re-centring nor a norm of 1.

        Returns the anomaly scores 1 - p_Normal `(frames,)` and the probabilities `(frames, classes)`.
        """
        device = self.text_features.device
        cosine = F.normalize(features.to(device).float(), dim=-1) @ F.normalize(self.text_features, dim=-1).T
        logits = self.logit_scale * cosine
        return anomaly_logit(logits, self.classes.index(NORMAL)).sigmoid(), logits.softmax(dim=-1)


def zero_shot(backbone: Backbone, classes: Sequence[str]) -> ZeroShotCLIP:
    """Return a backbone's zero-shot classifier of these classes.

    Raises UsageError without an abnormal class or without Normal, and for text towers that cannot read the prompts.
    """
    if NORMAL not in classes or len(classes) < 2:
        raise UsageError(
            f"zero-shot CLIP needs {NORMAL} and at least one abnormal class, not {', '.join(classes) or 'none'}: "
            "give data.classes, a preset that has them, or a manifest with labelled training videos"
        )
    features = engineered_features(classes, text_tower(backbone.model), backbone.tokenizer)
    scale = float(cast(Tensor, backbone.model.logit_scale).exp())
    name = digest(backbone.identity, _text_identity(backbone.model), engineered_prompts(classes), list(classes))
    return ZeroShotCLIP(tuple(classes), features.float(), scale, name)


def _text_identity(model: nn.Module) -> str:
    """Hash of a CLIP without its image tower, the logit scale included."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith("visual."):
            content.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            content.update(np.ascontiguousarray(value.cpu().numpy()).data)
    return content.hexdigest()
