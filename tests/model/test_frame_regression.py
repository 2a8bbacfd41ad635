import pytest
import torch

from anomalyclip.model.frame_regression import FrameRegression


def test_frames_of_both_kinds_that_mirror_each_other_are_parted_in_the_middle() -> None:
    frames = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [7.0, 5.0]]])
    model = FrameRegression(2)
    model.fit(frames, torch.tensor([False, True]))
    assert model(torch.tensor([4.0, 5.0])).item() == pytest.approx(0.0, abs=1e-5)
    assert model(torch.tensor([7.0, 5.0])).item() == pytest.approx(-model(torch.tensor([1.0, 5.0])).item(), abs=1e-5)
    assert model(torch.tensor([7.0, 5.0])).item() > 0
    assert model.weight[1].item() == 0.0  # a number that never varies tells nothing


def test_the_penalty_counts_standardised_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, abnormal = torch.randn(6, 4, 3, generator=generator), torch.arange(6) % 2 == 0
    plain, scaled = FrameRegression(3), FrameRegression(3)
    plain.fit(frames, abnormal)
    scaled.fit(frames * 1000 + 7, abnormal)
    torch.testing.assert_close(scaled(frames * 1000 + 7), plain(frames), atol=1e-4, rtol=1e-4)
