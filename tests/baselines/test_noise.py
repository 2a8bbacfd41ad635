import torch

from anomalyclip.baselines.noise import Noise, dropout


def test_a_videos_mask_depends_on_its_seed_alone() -> None:
    values = torch.ones(3, 4, 50)
    whole = Noise(torch.tensor([5, 6, 7])).dropout(values, 0.6)
    part = Noise(torch.tensor([7, 5])).dropout(values[:2], 0.6)
    assert torch.equal(part, whole[[2, 0]])
    assert not torch.equal(whole[0], whole[1])


def test_the_masks_of_a_step_differ_and_keep_the_mean() -> None:
    noise, values = Noise(torch.arange(4)), torch.ones(4, 10_000)
    first, second = noise.dropout(values, 0.7), noise.dropout(values, 0.7)
    assert not torch.equal(first, second)
    for dropped in (first, second):
        assert set(dropped.unique().tolist()) == {0.0, values[0, 0].div(1 - 0.7).item()}
        assert abs(dropped.mean().item() - 1) < 0.03


def test_without_noise_nothing_is_dropped() -> None:
    values = torch.randn(2, 3)
    assert dropout(values, 0.6, None) is values
