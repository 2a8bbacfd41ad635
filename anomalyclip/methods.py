"""The methods by name (`model.method`), and a trained model of any of them read back from its bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anomalyclip.baselines.registry import COMPETITORS
from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, load_card, load_tensors
from anomalyclip.model.method import Method
from anomalyclip.model.new_classes import Near, Prompts, kept_prompts, near_names
from anomalyclip.runs import CARD, TENSORS

METHODS: Mapping[str, type[Method]] = {"anomalyclip": AnomalyCLIP, **COMPETITORS}


def load_bundle(folder: Path) -> tuple[Method, ModelCard]:
    """Read a model for scoring, in evaluation mode on the CPU; raises UsageError if the folder holds none."""
    card = load_card(folder)
    return _built(folder, card, load_tensors(folder)), card


@dataclass(frozen=True, eq=False)
class NewNames:
    """Classes that nobody trained, by their names, and the CLIP whose text tower reads them."""

    names: tuple[str, ...]
    """As `data/new_names.py` checks them."""
    backbone: Backbone
    """The one that the model was trained with."""


def load_with_names(folder: Path, new: NewNames) -> tuple[AnomalyCLIP, ModelCard, list[Near]]:
    """Read a model that also scores new classes, and which of their names are close to a trained class.

    `Method.new_classes` names them; their probabilities come after those of the trained classes, which stay as they
    are (`model/new_classes.py`). Raises UsageError if the model reads no class names, a name is too long for the text
    tower, or the text tower is not the one that the model was trained with.
    """
    card, tensors = load_card(folder), load_tensors(folder)
    tower = text_tower(new.backbone.model)
    prompts = kept_prompts(tensors, card.model, tower, new.backbone.tokenizer)
    model = _built(folder, card, tensors)
    assert isinstance(model, AnomalyCLIP)
    abnormal = [place for place, name in enumerate(card.classes) if name != NORMAL]
    trained, known = [card.classes[place] for place in abnormal], model.directions()
    _check_tower(prompts, trained, abnormal, known)
    features = prompts.new_features(new.names, abnormal)
    near = near_names(new.names, features, trained, known)
    return model.with_new_classes(new.names, features), card, near


def _check_tower(prompts: Prompts, trained: list[str], abnormal: list[int], known: Tensor) -> None:
    """Raise UsageError unless the text tower gives the trained classes the features that the model has of them."""
    found = prompts.trained_features(trained, abnormal)
    if found.shape != known.shape or not torch.allclose(found, known, rtol=1e-2, atol=1e-2 * float(known.abs().max())):
        raise UsageError(
            "--classes: this text tower is not the one that the model was trained with: give its own weights with "
            "--set backbone.weights=FILE"
        )


def _built(folder: Path, card: ModelCard, tensors: Mapping[str, Tensor]) -> Method:
    try:
        return METHODS[card.model.method].from_bundle(tensors, card.classes, card.normal_index, card.model)
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"{folder / TENSORS} does not fit {CARD}: {' '.join(str(error).split())[:200]}") from None
