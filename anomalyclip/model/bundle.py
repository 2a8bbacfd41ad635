"""Bundle of a trained model: tensors in safetensors, the rest in JSON; loading runs no code from them."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomalyclip.config import BackboneConfig, ModelConfig, Precision
from anomalyclip.errors import UsageError
from anomalyclip.model.anomaly_clip import bundle_tensors
from anomalyclip.runs import CARD, TENSORS
from anomalyclip.settings import Section

MAX_CARD_BYTES = 2**20


class ModelCard(Section):
    """Card of a model: the meaning of its tensors, and the features it understands."""

    schema_version: Literal[1] = 1
    classes: tuple[str, ...]
    """All classes in order, Normal among them."""
    normal_index: int
    model: ModelConfig
    backbone: BackboneConfig
    """The configured backbone at training."""
    backbone_identity: str | None
    """Hash of the image tower; features of another one are refused. None if it understands imported features only."""
    features: str | None = None
    """Import name of the imported features that the model understands."""
    sampling_rate: int | None
    """Frames of the video per stored feature; None: a video's features are spread evenly over its frames."""
    crops: int = 1
    """Views of a frame whose scores are averaged."""
    precision: Precision = "auto"
    """Precision of the image tower that computed the features."""
    lengths: tuple[int, int] | None = None
    """Stored features of the training videos: the median number and the largest; None if unknown."""


def save_bundle(folder: Path, state: dict[str, Tensor], class_features: Tensor, card: ModelCard) -> None:
    """Write an AnomalyCLIP's files into a folder.

    Args:
        folder: created if missing.
        state: the learnt state of an AnomalyCLIP (`learnt_state`), with its prompts if it has any.
        class_features: output of its direction source, `(abnormal classes, dim)`.
        card: everything that is not a tensor.
    """
    write_bundle(folder, bundle_tensors(state, class_features), card)


def write_bundle(folder: Path, tensors: dict[str, Tensor], card: ModelCard) -> None:
    """Write the files of a model of any method, its `bundle_tensors`, into a folder, created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS)
    (folder / CARD).write_text(card.model_dump_json(indent=2))


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Read a model's tensors; raises UsageError if they are missing or damaged."""
    try:
        return load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{folder / TENSORS} is missing or damaged: {error}") from None


def load_card(folder: Path) -> ModelCard:
    """Read a model's card alone; raises UsageError if the folder holds none."""
    try:
        if (size := (folder / CARD).stat().st_size) > MAX_CARD_BYTES:
            raise UsageError(f"{folder / CARD} is not a model card: it has {size} bytes")
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} holds no model ({CARD} is missing)") from None
    except ValidationError as error:
        raise UsageError(f"{folder / CARD} is not a model card: {error.errors()[0]['msg']}") from None


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of a model's files."""
    digest = hashlib.sha256()
    for name in (TENSORS, CARD):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
