"""Device and float32 arithmetic of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from anomalyclip.config import Precision

ResolvedPrecision = Literal["float32", "tf32", "bfloat16"]


def resolve_device() -> torch.device:
    """Return this process's GPU if it has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """Return the precision asked for; `auto` is float32 on CPUs and bfloat16 on GPUs, `tf32` is float32 on CPUs."""
    if precision == "auto":
        return "float32" if device.type == "cpu" else "bfloat16"
    if precision == "tf32" and device.type == "cpu":
        return "float32"
    return precision


@contextmanager
def tf32_allowed(precision: ResolvedPrecision) -> Iterator[None]:
    """Let convolutions and matrix products round float32 inputs to TF32 in the block if the precision is `tf32`."""
    _set_float32("tf32" if precision == "tf32" else "ieee")
    try:
        yield
    finally:
        _set_float32("ieee")


def _set_float32(arithmetic: Literal["ieee", "tf32"]) -> None:
    torch.backends.cuda.matmul.fp32_precision = arithmetic
    torch.backends.cudnn.conv.fp32_precision = arithmetic  # type: ignore[attr-defined]


# on Ampere and later, PyTorch's convolutions use TF32 unless told otherwise: here float32 means float32
_set_float32("ieee")
