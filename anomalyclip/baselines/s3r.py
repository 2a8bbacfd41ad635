"""S3R: Wu et al., "Self-supervised sparse representation for video anomaly detection", ECCV 2022.

Ours against the original: what `rtfm.py` says of segments, margin and class head; D/4 and D/16 for 512 and 128;
segments are means of frames where the original interpolates; the segments' score head gives the macro score too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.baselines.multi_scale import MultiScale, xavier_init
from anomalyclip.baselines.noise import Noise, dropout
from anomalyclip.baselines.rtfm import DROPOUT, RTFM
from anomalyclip.config import LossConfig, ModelConfig
from anomalyclip.model.method import TrainingFeatures

ATOMS_PER_VIDEO = 0.5
"""As on UCF-Crime; the authors have 0.9 on ShanghaiTech."""
BATCHES, BATCH_SIZE, NON_ZEROS, SEED = 100, 32, 2, 42


class S3ROutput(NamedTuple):
    """Output for a batch of clips."""

    features: Tensor
    """F after de-Normal, `(videos, segments, dim)`."""
    anomaly_logits: Tensor
    """Of the segments' scores, `(videos, segments)`."""
    logits: Tensor
    """Of the classes, from F in evaluation mode, `(videos, segments, abnormal classes)`."""
    magnitudes: Tensor
    """||F|| in evaluation mode, `(videos, segments)`."""
    macro_logits: Tensor
    """Of the score of what the dictionary rebuilt, `(videos,)`."""


class EnNormal(nn.Module):
    """What a video looks like in terms of normal atoms: softmax(Q K^T) U, unscaled."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim // 4), nn.Linear(dim, dim // 4), nn.Linear(dim, dim)

    def forward(self, segments: Tensor, atoms: Tensor) -> Tensor:
        """Return `(videos, segments, dim)` of segments of that shape and atoms `(atoms, dim)`."""
        return (self.query(segments) @ self.key(atoms).T).softmax(dim=-1) @ self.value(atoms)


class S3R(RTFM):
    """RTFM on features from which what normal atoms explain is taken away."""

    title = "S3R"
    norm = "group"
    dictionary: Tensor
    """Atoms of normal training videos, `(atoms, dim)`; none until `prepare`."""

    def __init__(
        self, classes: Sequence[str], normal_index: int, normality_prototype: Tensor, config: ModelConfig
    ) -> None:
        super().__init__(classes, normal_index, normality_prototype, config)
        dim = len(normality_prototype)
        self.register_buffer("dictionary", torch.zeros(0, dim))
        self.en_normal = EnNormal(dim)
        self.macro_block = MultiScale(dim, self.norm)
        self.de_normal = nn.Sequential(nn.Linear(dim, dim // 16), nn.ReLU(), nn.Linear(dim // 16, dim), nn.Sigmoid())
        xavier_init(self)

    def prepare(self, training: TrainingFeatures) -> None:
        """Fit the dictionary to the means of the normal training videos."""
        self.dictionary = learn_dictionary(training.means[training.labels < 0]).to(self.dictionary)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Any:
        """Return the `S3ROutput` of clips `(videos, segments, frames, dim)`."""
        drawn, segments = None if noise is None else Noise(noise), features.mean(dim=2)
        embedded, macro = self.weigh(segments, drawn)
        parts = embedded, self.head(embedded, drawn), *self.classify(segments), self.head(macro.mean(dim=1), drawn)
        return S3ROutput(*(part.to(features.dtype) for part in parts))

    def embed(self, segments: Tensor, noise: Noise | None) -> Tensor:
        """Return F after de-Normal."""
        return self.weigh(segments, noise)[0]

    def weigh(self, segments: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        """Return F and M, each `(videos, segments, dim)`, weighed against each other (de-Normal)."""
        embedded = dropout(self.block(segments), DROPOUT, noise)
        macro = dropout(self.macro_block(self.en_normal(segments, self.dictionary)), DROPOUT, noise)
        share = self.de_normal(embedded.mean(dim=1) - macro.mean(dim=1))[:, None]
        return embedded * share, macro * (1 - share)

    def loss_terms(
        self,
        output: Any,
        labels: Tensor,
        weights: LossConfig,
        keep_top: Tensor | None = None,
        keep_bottom: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return RTFM's terms, and that what was rebuilt of any video, abnormal ones too, looks normal."""
        macro = F.binary_cross_entropy_with_logits(output.macro_logits, torch.zeros_like(output.macro_logits))
        return super().loss_terms(output, labels, weights, keep_top, keep_bottom) | {"macro": macro}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        # the number of atoms is that of the training's videos, which a new model does not know
        if (found := state_dict.get(f"{prefix}dictionary")) is not None:
            self.dictionary = self.dictionary.new_zeros(found.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)


def learn_dictionary(videos: Tensor) -> Tensor:
    """Return atoms `(atoms, dim)` of normal videos `(videos, dim)`, from mini-batch dictionary learning.

    The samples are the channels: each lives in two atoms only, whose codes are what the atoms hold of it.
    """
    channels = videos.T.double().cpu().numpy()
    atoms = max(1, round(ATOMS_PER_VIDEO * len(videos)))
    from sklearn.decomposition import MiniBatchDictionaryLearning  # here, since it takes a second to import

    learner = MiniBatchDictionaryLearning(
        atoms,
        batch_size=BATCH_SIZE,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=min(NON_ZEROS, atoms),
        random_state=SEED,
    )
    generator = np.random.default_rng(SEED)
    # counted here: the argument for iterations counts passes over all samples in newer versions of scikit-learn
    passes = -(-BATCHES * BATCH_SIZE // len(channels))
    order = np.concatenate([generator.permutation(len(channels)) for _ in range(passes)])
    for batch in range(BATCHES):
        learner.partial_fit(channels[order[batch * BATCH_SIZE : (batch + 1) * BATCH_SIZE]])
    return torch.from_numpy(learner.transform(channels).T).float().contiguous()
