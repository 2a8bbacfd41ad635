from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.zero_shot import ZeroShotCLIP, zero_shot
from anomalyclip.features.backbone import Backbone, load_backbone

CLASSES = ("Fighting", "Normal", "throwing_object")


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone(BackboneConfig())


def plain(
    features: NDArray[np.float64], texts: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The formula, written out in float64; Normal is the second class."""
    lengths = np.outer(np.linalg.norm(features, axis=1), np.linalg.norm(texts, axis=1))
    powers = np.exp(scale * (features @ texts.T) / lengths)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return 1 - probabilities[:, 1], probabilities


def test_scores_are_those_of_the_plain_formula(backbone: Backbone) -> None:
    clip: Any = backbone.model
    with torch.no_grad():
        clip.logit_scale.fill_(3.0)
        sentences = [f"a video from a CCTV camera of a {name}" for name in ("Fighting", "Normal", "throwing object")]
        texts = clip.encode_text(backbone.tokenizer(sentences)).double().numpy()
    features = torch.randn(40, backbone.dim).half()
    scores, probabilities = zero_shot(backbone, CLASSES).score(features)
    expected_scores, expected = plain(features.double().numpy(), texts, float(np.exp(3.0)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def test_frames_that_are_surely_normal_keep_their_order() -> None:
    model = ZeroShotCLIP(("Fighting", "Normal"), torch.eye(2), 100.0, "")
    angles = torch.tensor([0.78, 1.2, 1.4])  # from Fighting to Normal
    scores, probabilities = model.score(torch.stack([angles.cos(), angles.sin()], dim=1))
    assert probabilities[1, 1] == probabilities[2, 1] == 1
    assert 1 > scores[0] > scores[1] > scores[2] > 0


def test_the_length_of_a_feature_does_not_count(backbone: Backbone) -> None:
    features = torch.randn(5, backbone.dim)
    model = zero_shot(backbone, CLASSES)
    for ours, longer in zip(model.score(features), model.score(7 * features), strict=True):
        torch.testing.assert_close(ours, longer)


def test_the_digest_names_backbone_text_tower_and_classes(backbone: Backbone) -> None:
    first = zero_shot(backbone, CLASSES).digest
    assert zero_shot(load_backbone(BackboneConfig()), CLASSES).digest == first
    assert zero_shot(backbone, CLASSES[:2]).digest != first
    assert zero_shot(backbone, ("Fighting", "Normal", "throwing object")).digest != first
    for name in ("logit_scale", "text_projection"):
        changed = load_backbone(BackboneConfig())
        with torch.no_grad():
            changed.model.get_parameter(name).mul_(1.5)
        assert zero_shot(changed, CLASSES).digest != first


@pytest.mark.parametrize("classes", [("Normal",), ("Arson", "Fighting"), ()])
def test_classes_that_leave_nothing_to_tell_apart_are_refused(backbone: Backbone, classes: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="needs Normal and at least one abnormal class"):
        zero_shot(backbone, classes)
