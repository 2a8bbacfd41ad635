"""Fix for a CPU build of torch beside a torchvision built for CUDA; import this before open_clip or timm.

Such a torchvision cannot load its compiled library, and its import fails on operators that this package does not
use. With their schemas declared the import works. If the library loads, nothing is declared.
"""

import importlib.util
import sys
from pathlib import Path

import torch


def compiled_library_loads() -> bool:
    """Return whether torchvision's compiled library can be loaded beside this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    try:
        for library in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(library)
    except OSError:
        return False
    return True


def declare_operators() -> torch.library.Library:
    """Declare the operators that `import torchvision` asks for; they vanish with the returned object."""
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return fragment


DECLARED = None if "torchvision" in sys.modules or compiled_library_loads() else declare_operators()
