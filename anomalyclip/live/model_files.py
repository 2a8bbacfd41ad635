"""A model as a value: the files of its bundle and the place of its backbone, for processes on other machines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from anomalyclip.config import Precision
from anomalyclip.device import resolve_precision
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.backbone import Backbone, load_stored_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.live.scorer import live_scorer
from anomalyclip.live.watch import Encode, Model
from anomalyclip.methods import NewNames
from anomalyclip.model.bundle import ModelCard, load_card
from anomalyclip.storage import Storage, scratch


@dataclass(frozen=True)
class ModelFiles:
    """A verified model that any process which sees the storage root can load."""

    name: str
    """For people."""
    bundle: Mapping[str, bytes]
    """Contents of the bundle's files, by name."""
    storage_root: str
    """Holds the backbone."""
    backbone_identity: str
    precision: Precision
    point: OperatingPoint
    names: tuple[str, ...] = ()
    """Classes that nobody trained, asked for by their names."""


class Encoders:
    """Encoders of a device; models that understand the same features share one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._features: tuple[object, ...] = ()
        self._encode: Encode

    def of(self, identity: str, card: ModelCard, precision: Precision, backbone: Callable[[], Backbone]) -> Encode:
        """Return the encoder for a model with this card; another than the last one only if it must be."""
        resolved = resolve_precision(precision, self._device)
        features = (identity, resolved, card.crops, card.sampling_rate)
        if features != self._features:
            self._encode = FrameEncoder(backbone(), resolved, self._device, card.crops)
            self._features = features
        return self._encode


def load_model(files: ModelFiles, encoders: Encoders, device: torch.device) -> Model:
    """Return the model ready to score; raises UsageError if the backbone is not in the storage root."""
    backbone = partial(load_stored_backbone, Storage(files.storage_root), files.backbone_identity)
    with TemporaryDirectory(dir=scratch()) as folder:
        for name, content in files.bundle.items():
            (Path(folder) / name).write_bytes(content)
        new = NewNames(files.names, backbone()) if files.names else None
        scorer, card = live_scorer(Path(folder), device, new=new), load_card(Path(folder))
    encode = encoders.of(files.backbone_identity, card, files.precision, backbone)
    return Model(files.name, encode, scorer, files.point)
