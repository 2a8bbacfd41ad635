"""Image features of frames, and the fingerprint of everything that determines their values."""

import copy
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from anomalyclip.device import ResolvedPrecision, tf32_allowed
from anomalyclip.errors import JobError
from anomalyclip.features import torchvision_fix  # noqa: F401 - before open_clip, which imports torchvision
from anomalyclip.features.backbone import Backbone
from anomalyclip.features.preprocess import PREPROCESS_VERSION
from anomalyclip.settings import digest

# isort: split
import open_clip

log = logging.getLogger("anomalyclip")

ROUNDED = (nn.Linear, nn.Conv2d, nn.MultiheadAttention, NonDynamicallyQuantizableLinear)
"""Modules whose weights autocast rounds to bfloat16 in every call; subclasses may use them in other ways."""


class FrameEncoder:
    """The image tower on one device; it encodes one or several crops of native frames.

    Threads may share it. On a GPU the frames of one are uploaded, and its features fetched, while those of another are
    encoded; nothing waits for the GPU but the thread that needs the features.
    """

    def __init__(
        self,
        backbone: Backbone,
        precision: ResolvedPrecision,
        device: torch.device,
        crops: int = 1,
        batch_size: int = 0,
        compiled: bool = False,
    ) -> None:
        """Create an encoder of batches of any size; on a GPU, those of about `batch_size` frames cost the host least.

        `compiled` compiles the image tower for such batches on a GPU, where that is possible; features then differ by
        rounding.
        """
        self._preprocess = backbone.preprocess
        self._precision = precision
        self._device = device
        self._crops = crops
        self._tower = _image_tower(backbone.model, precision, device)
        self._buffers = threading.local()
        # on a GPU, kernels of two batches side by side gain nothing; on CPUs batches side by side were 1.5 times faster
        self._turn: Any = nullcontext() if device.type == "cpu" else threading.Lock()
        self._graph: _Graph | None = None
        # a recording always encodes a whole batch: half an empty one would cost more than launching kernels one by one
        self._least = batch_size // 2 + 1
        if device.type == "cuda" and batch_size:
            self._graph = (self._compile(batch_size) if compiled else None) or self._record(batch_size)

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return features (frames, crops, dim), not normalised, of RGB frames (frames, height, width, 3).

        Raises JobError if a feature is not finite in float16.
        """
        stored = self._on_gpu(frames) if self._device.type == "cuda" else self._encode(_tensor(frames))
        features = np.asarray(stored.numpy(), dtype=np.float16)
        broken = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
        if len(broken):
            raise JobError(
                f"features of {len(broken)} of {len(frames)} frames (the first at {broken[0]} of its batch) "
                f"are not finite or exceed float16 in {self._precision}; check the weights"
            )
        return features

    def _encode(self, frames: Tensor) -> Tensor:
        views = self._preprocess.crops(frames, self._crops)
        # one crop at a time: all at once need ten times the memory
        return torch.stack([self._features(pixels).to(torch.float16, copy=True) for pixels in views], dim=1)

    def _features(self, pixels: Tensor) -> Tensor:
        if self._graph is not None and self._least <= len(pixels) <= len(self._graph.pixels):
            return self._graph(pixels)
        return self._eager(pixels)

    def _eager(self, pixels: Tensor) -> Tensor:
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16")
        with autocast, tf32_allowed(self._precision):
            return self._tower(pixels)

    @torch.inference_mode()
    def _record(self, batch_size: int) -> "_Graph":
        pixels = torch.zeros(batch_size, 3, self._preprocess.size, self._preprocess.size, device=self._device)
        return _Graph(self._eager, pixels)

    def _compile(self, batch_size: int) -> "_Graph | None":
        plain = self._tower
        self._tower = torch.compile(plain, dynamic=False)
        try:
            graph = self._record(batch_size)
        except Exception as error:  # of a compiler, a driver or Triton
            log.warning("the image tower cannot be compiled here: %s", " ".join(str(error).split())[:200])
            self._tower = plain
            return None
        self._least = 1  # another size would be compiled anew, in the middle of the work
        return graph

    def _on_gpu(self, frames: NDArray[np.uint8]) -> Tensor:
        buffers = self._buffers_of(frames)
        pinned = buffers.pinned[: frames.size].view(frames.shape)
        pinned.copy_(_tensor(frames))
        with torch.cuda.stream(buffers.copies):
            uploaded = pinned.to(self._device, non_blocking=True)
        with self._turn:
            torch.cuda.current_stream(self._device).wait_stream(buffers.copies)
            encoded = self._encode(uploaded)
            stored = torch.empty(encoded.shape, dtype=encoded.dtype, pin_memory=True)
            stored.copy_(encoded, non_blocking=True)
            buffers.done.record()
        # what was uploaded lives until here, so its memory is not given to the next upload too early
        buffers.done.synchronize()
        return stored

    def _buffers_of(self, frames: NDArray[np.uint8]) -> Any:
        """Return this thread's pinned memory, large enough for some frames, its stream and its event."""
        buffers = self._buffers
        if not hasattr(buffers, "copies"):
            buffers.copies = torch.cuda.Stream(self._device)
            buffers.done = torch.cuda.Event(blocking=True)  # busy waiting would cost a core per thread
            buffers.pinned = torch.empty(0, dtype=torch.uint8)
        if buffers.pinned.numel() < frames.size:
            buffers.pinned = torch.empty(frames.size, dtype=torch.uint8, pin_memory=True)
        return buffers


class _Graph:
    """Kernels that were recorded once: launching them one by one took the host longer than the GPU needed for them."""

    def __init__(self, function: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
        """Record a function of a batch of that shape; needs that no other thread uses the GPU."""
        self.pixels = pixels
        stream = torch.cuda.Stream(pixels.device)
        stream.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels and take their memory in the first calls
                function(pixels)
        torch.cuda.current_stream(pixels.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._features = function(pixels)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features of some pixels, which the next call overwrites."""
        self.pixels[: len(pixels)].copy_(pixels)
        self._graph.replay()
        return self._features[: len(pixels)]


def _image_tower(model: Any, precision: ResolvedPrecision, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what turns pixels into features: on a GPU a copy of the image tower alone, its weights as used there."""
    if device.type == "cpu":
        return cast(Callable[[Tensor], Tensor], model.encode_image)
    # these two do no more than call it; others (CoCa) normalise what it returns, or take a part of it
    alone = type(model) in (open_clip.CLIP, open_clip.CustomTextCLIP)
    copied = copy.deepcopy(model.visual if alone else model).to(device)
    if precision == "bfloat16":
        round_weights(copied)
    return cast(Callable[[Tensor], Tensor], copied if alone else copied.encode_image)


def round_weights(model: nn.Module) -> None:
    """Round to bfloat16, in place, the weights that autocast would round again in every call, to the same numbers."""
    for module in model.modules():
        if type(module) in ROUNDED:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.bfloat16()


def _tensor(frames: NDArray[np.uint8]) -> Tensor:
    # torch warns of read-only arrays, such as shared memory
    return torch.from_numpy(np.require(frames, requirements=["C", "W"]))


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
