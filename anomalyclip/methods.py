"""The methods by name (`model.method`), and a trained model of any of them read back from its bundle."""

from collections.abc import Mapping
from pathlib import Path

from anomalyclip.baselines.registry import COMPETITORS
from anomalyclip.errors import UsageError
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, load_card, load_tensors
from anomalyclip.model.method import Method
from anomalyclip.runs import CARD, TENSORS

METHODS: Mapping[str, type[Method]] = {"anomalyclip": AnomalyCLIP, **COMPETITORS}


def load_bundle(folder: Path) -> tuple[Method, ModelCard]:
    """Read a model for scoring, in evaluation mode on the CPU; raises UsageError if the folder holds none."""
    card = load_card(folder)
    tensors = load_tensors(folder)
    try:
        model = METHODS[card.model.method].from_bundle(tensors, card.classes, card.normal_index, card.model)
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"{folder / TENSORS} does not fit {CARD}: {' '.join(str(error).split())[:200]}") from None
    return model, card
