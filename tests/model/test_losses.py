from itertools import pairwise

import pytest
import torch
from torch import Tensor

from anomalyclip.config import LossConfig
from anomalyclip.model.losses import Selection, loss_terms, semantic_selection
from anomalyclip.model.selector import segment_sums

VIDEOS, SEGMENTS, FRAMES, CLASSES, K = 4, 6, 5, 3, 2
LABELS = torch.tensor([2, 0])
ONES = LossConfig(**dict.fromkeys(LossConfig.model_fields, 1.0))


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(VIDEOS, SEGMENTS, FRAMES, CLASSES, generator=torch.Generator().manual_seed(0)).double()


def plain_terms(logits: Tensor, scores: Tensor, selection: Selection) -> dict[str, Tensor]:
    """The formulas of the method as they are written, a video at a time."""
    top, bottom, normal, direction = [], [], [], []
    for video, label in enumerate(LABELS.tolist()):
        for segment in selection.top_abnormal[video]:
            z, s = logits[video, segment], scores[video, segment]
            direction.append(-z[:, label])
            top.append(-torch.log(z.softmax(dim=-1)[:, label] * s))
        bottom += [-torch.log(1 - scores[video, segment]) for segment in selection.bottom_abnormal[video]]
        normal += [-torch.log(1 - scores[2 + video, segment]) for segment in selection.top_normal[video]]
    flat = scores[:2].flatten()
    return {
        "direction_abnormal": torch.cat(direction).mean(),
        "direction_normal": logits[2:].amax(dim=-1).mean(),
        "top_k_abnormal": torch.cat(top).mean(),
        "bottom_k_abnormal": torch.cat(bottom).mean(),
        "top_k_normal": torch.cat(normal).mean(),
        "smooth": sum((b - a) ** 2 for a, b in pairwise(flat)),
        "sparse": flat.mean(),
    }


@pytest.mark.parametrize("score", [1e-4, 0.5, 0.99])
def test_terms_equal_the_plain_formulas(logits: Tensor, score: float) -> None:
    scores = torch.rand(logits.shape[:3], generator=torch.Generator().manual_seed(1)) * (0.99 - 1e-4) + 1e-4
    scores = scores.double()
    scores[:, ::2] = score
    selection = semantic_selection(segment_sums(logits), LABELS, K)
    expected = plain_terms(logits, scores, selection)
    for number, dtype in enumerate((torch.float64, torch.float32)):
        terms = loss_terms(logits.to(dtype), scores.logit().to(dtype), LABELS, selection, ONES)
        assert terms.keys() == expected.keys()
        for name, value in terms.items():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=(1e-9, 1e-6)[number])


def test_weights_scale_their_own_terms(logits: Tensor) -> None:
    selection = semantic_selection(segment_sums(logits), LABELS, K)
    plain = loss_terms(logits, logits[..., 0], LABELS, selection, ONES)
    for number, name in enumerate(LossConfig.model_fields):
        weights = LossConfig(**{**dict.fromkeys(plain, 1.0), name: number + 2.0})
        terms = loss_terms(logits, logits[..., 0], LABELS, selection, weights)
        assert {term for term in plain if terms[term] != plain[term]} == {name}
        assert terms[name] == (number + 2) * plain[name]


@pytest.mark.parametrize(
    "logit, terms",
    [(-40.0, ["top_k_abnormal"]), (40.0, ["bottom_k_abnormal", "top_k_normal"])],
)
def test_a_score_of_zero_or_one_is_still_learnt_from(logits: Tensor, logit: float, terms: list[str]) -> None:
    anomaly_logits = torch.full(logits.shape[:3], logit, dtype=torch.float32, requires_grad=True)
    found = loss_terms(
        logits.float(), anomaly_logits, LABELS, semantic_selection(segment_sums(logits), LABELS, K), ONES
    )
    assert torch.stack(list(found.values())).isfinite().all()
    assert sum(found[name] for name in terms) > 39
    for name in terms:  # the selected frames pull their score back with their full weight
        (pull,) = torch.autograd.grad(found[name], anomaly_logits, retain_graph=True)
        assert (pull * logit).min() >= 0
        assert pull.abs().sum() == pytest.approx(1.0)


def test_selection_is_by_own_class_and_passes_no_gradient(logits: Tensor) -> None:
    logits = logits.requires_grad_()
    selection = semantic_selection(segment_sums(logits), LABELS, K)
    sums = logits.sum(dim=2)
    for video, label in enumerate(LABELS.tolist()):
        order = sums[video, :, label].argsort(descending=True)
        assert selection.top_abnormal[video].tolist() == order[:K].tolist()
        assert selection.bottom_abnormal[video].tolist() == order.flip(0)[:K].tolist()
        normal = sums[2 + video].sum(dim=-1).argsort(descending=True)
        assert selection.top_normal[video].tolist() == normal[:K].tolist()
    terms = loss_terms(logits, logits[..., 0].detach(), LABELS, selection, ONES)
    (gradient,) = torch.autograd.grad(terms["direction_abnormal"], logits)
    expected = torch.zeros_like(gradient)
    for video, label in enumerate(LABELS.tolist()):
        expected[video, selection.top_abnormal[video], :, label] = -1 / (2 * K * FRAMES)
    torch.testing.assert_close(gradient, expected)


def test_dropout_of_the_bottom_is_its_own(logits: Tensor) -> None:
    keep = torch.zeros(VIDEOS, SEGMENTS, dtype=torch.bool)
    keep[:, :K] = True
    everything = torch.ones_like(keep)
    selection = semantic_selection(segment_sums(logits), LABELS, K, keep_top=everything, keep_bottom=keep)
    free = semantic_selection(segment_sums(logits), LABELS, K)
    assert torch.equal(selection.top_abnormal, free.top_abnormal)
    assert torch.equal(selection.top_normal, free.top_normal)
    assert selection.bottom_abnormal.sort().values.tolist() == [[0, 1], [0, 1]]
