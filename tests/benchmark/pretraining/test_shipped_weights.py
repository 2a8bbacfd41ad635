"""The weights that come with the package are those of a trained CLIP, and the default."""

import logging

import numpy as np
import pytest

from anomalyclip.benchmark.pictures.illustrations import draw_picture
from anomalyclip.benchmark.pictures.pool import PicturePool
from anomalyclip.benchmark.pretraining.accuracy import zero_shot_accuracy
from anomalyclip.config import BackboneConfig
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.weights import embedded_file

HELD_OUT_SEED = 1


def test_the_default_backbone_tells_pictures_it_has_not_seen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="anomalyclip"):
        backbone = load_backbone(BackboneConfig())
    assert not caplog.records
    pictures = [draw_picture(HELD_OUT_SEED, index) for index in range(400)]
    pool = PicturePool(
        np.stack([picture.pixels for picture in pictures]),
        [list(picture.captions) for picture in pictures],
        [picture.concept for picture in pictures],
    )
    assert zero_shot_accuracy(backbone.model, backbone.tokenizer, backbone.preprocess, pool).top1 > 0.8


def test_the_file_is_small() -> None:
    assert embedded_file("clip-tiny").stat().st_size < 24_000_000
