"""Floating-point operations of an image tower, counted by PyTorch."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from anomalyclip.features.backbone import Backbone


def flops_per_frame(backbone: Backbone) -> int:
    """Return the operations of one frame, two for a multiplication with an addition."""
    pixels = torch.zeros(1, 3, backbone.preprocess.size, backbone.preprocess.size)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know fused attention on CPUs
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
            backbone.model.encode_image(pixels)  # type: ignore[operator]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()
