"""Image features of frames, and the fingerprint of everything that determines their values."""

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyclip.device import ResolvedPrecision, tf32_allowed
from anomalyclip.errors import JobError
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.preprocess import PREPROCESS_VERSION
from anomalyclip.settings import digest


class FrameEncoder:
    """The image tower on one device; it encodes one or several crops of native frames."""

    def __init__(self, backbone: Backbone, precision: ResolvedPrecision, device: torch.device, crops: int = 1) -> None:
        self._preprocess = backbone.preprocess
        self._precision = precision
        self._device = device
        self._crops = crops
        on_cpu = device.type == "cpu"
        self._model: Any = backbone.model if on_cpu else copy.deepcopy(backbone.model).to(device)

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return features (frames, crops, dim), not normalised, of RGB frames (frames, height, width, 3).

        Raises JobError if a feature is not finite in float16.
        """
        views = self._preprocess.crops(self._upload(frames), self._crops)
        # one crop at a time: all at once need ten times the memory
        stored = torch.stack([self._encode(pixels).half() for pixels in views], dim=1)
        broken = (~stored.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
        if broken:
            raise JobError(
                f"features of {len(broken)} of {len(frames)} frames (the first at {broken[0]} of its batch) "
                f"are not finite or exceed float16 in {self._precision}; check the weights"
            )
        return np.asarray(stored.cpu().numpy(), dtype=np.float16)

    def _encode(self, pixels: Tensor) -> Tensor:
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16")
        with autocast, tf32_allowed(self._precision):
            features: Tensor = self._model.encode_image(pixels)
        return features

    def _upload(self, frames: NDArray[np.uint8]) -> Tensor:
        # torch warns of read-only arrays, such as shared memory
        tensor = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def feature_fingerprint(backbone: Backbone, precision: ResolvedPrecision, sampling_rate: int, crops: int = 1) -> str:
    """Return 16 hexadecimal digits that identify what determines the values of features; not library versions."""
    several = [crops] if crops > 1 else []  # one crop keeps the fingerprint that it had before there were more
    return digest(
        backbone.identity,
        PREPROCESS_VERSION,
        asdict(backbone.preprocess),
        precision,
        backbone.dim,
        sampling_rate,
        *several,
    )
