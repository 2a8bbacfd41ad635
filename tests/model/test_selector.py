import pytest
import torch

from anomalyclip.model.selector import (
    CosineSelector,
    GlobalBatchNorm,
    Selector,
    segment_scores,
    segment_sums,
    select_segments,
    take_segments,
)


def test_batch_norm_equals_torchs_own_in_training_and_evaluation() -> None:
    ours, theirs = GlobalBatchNorm(5), torch.nn.BatchNorm1d(5, affine=False)
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        rows = torch.randn(50, 5, generator=generator) * (step + 1) + 3
        left, right = rows.clone().requires_grad_(), rows.clone().requires_grad_()
        weights = torch.randn(50, 5, generator=generator)
        (ours(left) * weights).sum().backward()
        (theirs(right) * weights).sum().backward()
        torch.testing.assert_close(ours(rows), theirs(rows))
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)
    rows = torch.randn(3, 5, generator=generator)
    before = ours.running_var.clone()
    torch.testing.assert_close(ours.eval()(rows), theirs.eval()(rows))
    assert torch.equal(ours.running_var, before)


def test_logits_are_projections_on_directions_from_the_prototype() -> None:
    generator = torch.Generator().manual_seed(0)
    features, classes = torch.randn(2, 3, 4, 8, generator=generator), torch.randn(5, 8, generator=generator)
    prototype = torch.randn(8, generator=generator)
    selector = Selector(5).eval()
    logits = selector(features - prototype, classes, prototype)
    for index, name in enumerate(classes):
        direction = (name - prototype) / (name - prototype).norm()
        expected = ((features - prototype) @ direction) / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(logits[..., index], expected)
    longer = selector(features - prototype, prototype + 7 * (classes - prototype), prototype)
    torch.testing.assert_close(longer, logits)


def test_cosine_logits_are_a_hundred_times_the_cosine_with_the_text() -> None:
    generator = torch.Generator().manual_seed(0)
    features, classes = torch.randn(2, 3, 4, 8, generator=generator), torch.randn(5, 8, generator=generator)
    logits = CosineSelector()(features, classes, torch.full((8,), 9.0))
    for index, name in enumerate(classes):
        cosine = (features @ name) / features.norm(dim=-1) / name.norm()
        torch.testing.assert_close(logits[..., index], 100 * cosine, rtol=1e-4, atol=1e-4)


def test_a_segment_counts_its_videos_own_class_or_all_of_them() -> None:
    logits = torch.randn(3, 6, 4, 5)
    scores = segment_scores(segment_sums(logits), torch.tensor([4, 1]))
    torch.testing.assert_close(scores[0], logits[0, :, :, 4].sum(dim=1))
    torch.testing.assert_close(scores[1], logits[1, :, :, 1].sum(dim=1))
    torch.testing.assert_close(scores[2], logits[2].sum(dim=(1, 2)))


@pytest.mark.parametrize("largest, expected", [(True, [3, 1, 0]), (False, [1, 3, 0])])
def test_hidden_segments_follow_in_order_where_too_few_stay(largest: bool, expected: list[int]) -> None:
    scores = torch.tensor([[9.0, 1.0, 8.0, 2.0, 7.0]])
    keep = torch.tensor([[False, True, False, True, False]])
    assert select_segments(scores, 3, keep, largest=largest).tolist() == [expected]


def test_equal_scores_are_taken_in_order() -> None:
    assert select_segments(torch.zeros(1, 40), 3, largest=True).tolist() == [[0, 1, 2]]
    assert select_segments(torch.zeros(1, 40), 3, largest=False).tolist() == [[0, 1, 2]]


def test_segments_are_taken_a_video_at_a_time() -> None:
    values = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    taken = take_segments(values, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([values[0, [2, 0]], values[1, [1, 1]]]))
