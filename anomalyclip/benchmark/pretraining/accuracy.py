"""Zero-shot accuracy: which concept's name fits a picture best, by features alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip.benchmark.pictures.pool import PicturePool
from anomalyclip.features.backbone import Tokenizer
from anomalyclip.features.preprocess import Preprocess

PROMPTS = ("{}", "a picture of {}", "a photo of {}", "a video of {}", "here is {}", "a drawing that shows {}")
BATCH = 256


@dataclass(frozen=True)
class ConceptAccuracy:
    """Accuracy of one concept among all others."""

    pictures: int
    accuracy: float
    mistaken_for: str | None
    """The other concept that its pictures are mistaken for most often."""


@dataclass(frozen=True)
class ZeroShotAccuracy:
    """Accuracy of all concepts by their names."""

    top1: float
    """Share of the pictures whose own concept fits best."""
    mean_top1: float
    """Mean of the concepts' accuracies."""
    concepts: dict[str, ConceptAccuracy]
    """The worst first."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON-like value."""
        return asdict(self)

    def as_markdown(self) -> str:
        """Return a table of the concepts."""
        lines = [
            f"Zero-shot top-1 {self.top1:.3f}, mean over {len(self.concepts)} concepts {self.mean_top1:.3f}.",
            "",
            "| concept | pictures | accuracy | most often mistaken for |",
            "|---|---|---|---|",
        ]
        rows = (
            f"| {name} | {row.pictures} | {row.accuracy:.2f} | {row.mistaken_for or ''} |"
            for name, row in self.concepts.items()
        )
        return "\n".join([*lines, *rows, ""])


@torch.inference_mode()
def zero_shot_accuracy(
    model: nn.Module, tokenizer: Tokenizer, preprocess: Preprocess, pool: PicturePool
) -> ZeroShotAccuracy:
    """Measure a CLIP on pictures; the concepts to choose from are those that occur. Its mode is left as it was."""
    names = sorted(set(pool.concepts))
    training = model.training
    model.eval()
    try:
        classifier = concept_features(model, tokenizer, names)
        batches = (preprocess(torch.from_numpy(part)) for part in _batches(pool))
        guesses = torch.cat(
            [(model.get_submodule("visual")(images) @ classifier.T).argmax(dim=1) for images in batches]
        )
    finally:
        model.train(training)
    return _summarise(pool.concepts, [names[guess] for guess in guesses.tolist()], names)


def concept_features(model: nn.Module, tokenizer: Tokenizer, names: Sequence[str]) -> Tensor:
    """Return `(concepts, dim)`: the mean of each name's normalised text features over all prompts."""
    tokens = tokenizer([prompt.format(name) for name in names for prompt in PROMPTS])
    features: Tensor = model.encode_text(tokens)  # type: ignore[operator]  # open_clip's own method
    prompts = F.normalize(features, dim=-1).view(len(names), len(PROMPTS), -1)
    return F.normalize(prompts.mean(dim=1), dim=-1)


def _batches(pool: PicturePool) -> list[Any]:
    starts = range(0, len(pool.pixels), BATCH)
    return [np.array(pool.pixels[start : start + BATCH]) for start in starts]


def _summarise(truth: Sequence[str], guesses: Sequence[str], names: Sequence[str]) -> ZeroShotAccuracy:
    taken_for: dict[str, Counter[str]] = {name: Counter() for name in names}
    for concept, guess in zip(truth, guesses, strict=True):
        taken_for[concept][guess] += 1
    rows = {name: _concept(name, counts) for name, counts in taken_for.items()}
    worst_first = dict(sorted(rows.items(), key=lambda row: row[1].accuracy))
    top1 = sum(concept == guess for concept, guess in zip(truth, guesses, strict=True)) / len(truth)
    return ZeroShotAccuracy(top1, sum(row.accuracy for row in rows.values()) / len(rows), worst_first)


def _concept(name: str, taken_for: Counter[str]) -> ConceptAccuracy:
    pictures = taken_for.total()
    wrong = [other for other, _ in taken_for.most_common() if other != name]
    return ConceptAccuracy(pictures, taken_for[name] / pictures, wrong[0] if wrong else None)
