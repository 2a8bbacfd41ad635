from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomalyclip.config import RunConfig
from anomalyclip.evaluation.metrics import video_score
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.training import validation
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, split_bags
from anomalyclip.training.validation import AUC, LOSS, best_epoch, validate

NewModel = Callable[[], AnomalyCLIP]


@pytest.fixture
def model(new_model: NewModel) -> AnomalyCLIP:
    return new_model().eval()


def test_the_figure_is_the_auc_of_the_videos_scores(
    model: AnomalyCLIP, bags: list[Bag], cache: Any, config: RunConfig
) -> None:
    scores = [model.score_video(torch.from_numpy(cache.video(bag.video_id)[:, 0])).scores.numpy() for bag in bags]
    expected = roc_auc_score([bag.label != NORMAL_LABEL for bag in bags], [video_score(part) for part in scores])
    assert validate(model, bags, cache, config)[AUC] == pytest.approx(expected)


def test_a_videos_score_is_that_of_the_mean_over_its_crops(
    model: AnomalyCLIP, bags: list[Bag], cropped_cache: Any, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float] = []
    monkeypatch.setattr(validation, "roc_auc_score", lambda truth, scores: judged.extend(scores) or 0.5)
    validate(model, bags, cropped_cache, config)
    abnormal, normal = split_bags(bags)
    for found, bag in zip(judged, abnormal + normal, strict=True):
        crops = torch.from_numpy(cropped_cache.video(bag.video_id)).unbind(dim=1)
        mean = np.mean([model.score_video(crop).scores.numpy() for crop in crops], axis=0)
        assert found == pytest.approx(video_score(mean), rel=1e-5)


def test_validation_is_the_same_every_time_and_in_any_order(
    model: AnomalyCLIP, bags: list[Bag], cache: Any, config: RunConfig
) -> None:
    first = validate(model, bags, cache, config)
    torch.rand(3)
    assert validate(model, bags[::-1], cache, config) == first
    assert first.keys() == {AUC, LOSS}


def test_validation_changes_nothing_in_the_model(
    model: AnomalyCLIP, bags: list[Bag], cache: Any, config: RunConfig
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    validate(model, bags, cache, config)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_segment_dropout_plays_no_part(model: AnomalyCLIP, bags: list[Bag], cache: Any, config: RunConfig) -> None:
    undropped = config.model.model_copy(update={"top_dropout": 0.0, "bottom_dropout": 0.0})
    free = config.model_copy(update={"model": undropped})
    assert validate(model, bags, cache, free)[LOSS] == validate(model, bags, cache, config)[LOSS]


def test_an_epoch_that_trained_nothing_is_not_chosen() -> None:
    history = [{"learning_rate": rate, AUC: auc, LOSS: 1.0} for rate, auc in ((0.0, 0.9), (0.1, 0.5), (0.1, 0.6))]
    assert best_epoch(history) == 2
    assert best_epoch(history[:1]) == 0
