import math

import pytest
import torch

from anomalyclip.model.smoothing import smooth


def test_an_impulse_becomes_the_gaussian() -> None:
    impulse = torch.zeros(21, 1)
    impulse[10] = 1.0
    weights = [math.exp(-0.5 * (offset / 2.0) ** 2) for offset in range(-8, 9)]
    expected = [0.0, 0.0, *(weight / sum(weights) for weight in weights), 0.0, 0.0]
    assert smooth(impulse, 2.0)[:, 0].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_what_is_constant_stays_so_up_to_the_ends(steps: int) -> None:
    values = torch.tensor([2.0, -3.0]).expand(steps, 2)
    torch.testing.assert_close(smooth(values, 4.0), values)


def test_columns_do_not_mix() -> None:
    values = torch.randn(30, 3)
    apart = torch.cat([smooth(values[:, [column]], 1.5) for column in range(3)], dim=1)
    torch.testing.assert_close(smooth(values, 1.5), apart)


def test_no_deviation_changes_nothing() -> None:
    values = torch.randn(5, 2)
    assert smooth(values, 0.0) is values
