from typing import Any

import pytest
import torch

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.text_tower import text_tower
from anomalyclip.model.engineered import engineered_features


def test_class_features_are_clips_own_of_the_sentence() -> None:
    backbone = load_backbone(BackboneConfig())
    ours = engineered_features(["Normal", "throwing_object"], text_tower(backbone.model), backbone.tokenizer)
    sentences = ["a video from a CCTV camera of a Normal", "a video from a CCTV camera of a throwing object"]
    clip: Any = backbone.model
    with torch.no_grad():
        torch.testing.assert_close(ours, clip.encode_text(backbone.tokenizer(sentences)))
    assert not ours.requires_grad


def test_a_class_name_that_the_text_tower_cannot_take_whole_is_refused() -> None:
    backbone = load_backbone(BackboneConfig())
    with pytest.raises(UsageError, match="exceeds the text tower's 77 tokens"):
        engineered_features(["Normal", "very " * 80], text_tower(backbone.model), backbone.tokenizer)
