"""The multi-scale block, by numbers worked out here."""

import math

import pytest
import torch
from torch import nn

from anomalyclip.baselines.multi_scale import ChannelBatchNorm, MultiScale, NonLocal

UNIT = 1 / math.sqrt(1 + 1e-5)
"""What batch norm multiplies by before it has seen anything."""


def set_weights(layer: nn.Conv1d, weight: list[float], bias: float | None = None) -> None:
    """Set the middle of the kernel of a layer's first output; the rest is 0."""
    with torch.no_grad():
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
        layer.weight[0, :, layer.kernel_size[0] // 2] = torch.tensor(weight)
        if layer.bias is not None:
            layer.bias[0] = bias or 0.0


def test_the_non_local_block_is_a_product_without_softmax_divided_by_the_length() -> None:
    block = NonLocal(2).double().eval()
    set_weights(block.theta, [1.0, 0.0], 0.5)
    set_weights(block.phi, [0.0, 1.0])
    set_weights(block.g, [1.0, 1.0])
    with torch.no_grad():
        block.out.weight[:] = torch.tensor([[[2.0]], [[0.0]]])
        block.out.bias[:] = torch.tensor([0.0, 1.0])
        block.norm.gain[:] = 3.0
    x = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]], dtype=torch.float64)  # two channels at two times
    found = block(x)
    theta, phi, g = (1.5, 2.5), (3.0, -1.0), (4.0, 1.0)
    y = [theta[t] * (phi[0] * g[0] + phi[1] * g[1]) / 2 for t in range(2)]
    assert found[0, 0].tolist() == pytest.approx([x[0, 0, t].item() + 3 * UNIT * 2 * y[t] for t in range(2)])
    assert found[0, 1].tolist() == pytest.approx([3 + 3 * UNIT * 1, -1 + 3 * UNIT * 1])


def test_the_non_local_block_starts_as_the_identity() -> None:
    x = torch.randn(3, 8, 5)
    assert torch.equal(NonLocal(8)(x), x)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_branches_see_one_two_and_four_segments_away(norm: str) -> None:
    block = MultiScale(8, "batch" if norm == "batch" else "group")
    x = torch.zeros(1, 8, 11)
    x[0, :, 5] = 1.0
    for unit, dilation in zip(block.scales, (1, 2, 4), strict=True):
        convolution = unit[0]
        with torch.no_grad():
            convolution.bias.zero_()
        seen = convolution(x)[0].abs().sum(dim=0).nonzero().flatten().tolist()
        assert seen == [5 - dilation, 5, 5 + dilation]
    names = [[type(part).__name__ for part in unit] for unit in (*block.scales, block.merge)]
    ours = ["Conv1d", "ReLU", "ChannelBatchNorm"] if norm == "batch" else ["Conv1d", "GroupNorm", "ReLU"]
    assert names == [ours] * 4
    assert [type(part).__name__ for part in block.non_local] == ["Conv1d", "ReLU", "NonLocal"]
    assert block.merge[0].bias is None and block.non_local[0].bias is None


def test_the_block_adds_its_merged_branches_to_its_input() -> None:
    block = MultiScale(8).double().eval()  # branches of two channels, of which the second is 0
    zeros = [0.0] * 4
    for unit, weight in zip(block.scales, ([1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]), strict=True):
        set_weights(unit[0], weight + zeros, 0.25)
    set_weights(block.non_local[0], [0, 0, 0, 2.0, *zeros])
    with torch.no_grad():
        block.merge[0].weight.zero_()
        block.merge[0].weight[0, ::2, 1] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
        block.merge[0].weight[1, 0, 1] = -1.0
    x = torch.tensor([[[0.5, -3.0, 2.0, 1.5, *zeros]]], dtype=torch.float64)  # one segment
    # ReLU, then batch norm: 0.75, 0 (from -2.75), 2.25, and 3 from the branch without norm
    merged = 0.75 * UNIT + 0 + 100 * 2.25 * UNIT + 1000 * 3.0
    expected = [0.5 + UNIT * merged, -3.0 + 0.0, 2.0, 1.5, *zeros]  # the second output is negative before its ReLU
    assert block(x)[0, 0].tolist() == pytest.approx(expected)


def test_batch_norm_covers_all_videos_and_segments() -> None:
    norm = ChannelBatchNorm(1).train()
    with torch.no_grad():
        norm.gain.fill_(2.0)
        norm.bias.fill_(0.5)
    found = norm(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]))  # mean 3, variance 3.5
    scale = 2 / math.sqrt(3.5 + 1e-5)
    assert found.flatten().tolist() == pytest.approx([0.5 + scale * (value - 3) for value in (1, 2, 3, 6)], rel=1e-5)
