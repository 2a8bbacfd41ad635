from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import anomalyclip.features.backbone  # noqa: F401  (its torchvision remedy comes before any import of open_clip)

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """Load one golden file; strings stay NumPy arrays."""

    def load(name: str) -> dict[str, Tensor]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return {key: value if value.dtype.kind == "U" else torch.from_numpy(value) for key, value in file.items()}

    return load
