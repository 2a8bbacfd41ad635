from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomalyclip.config import ExtractionConfig, RunConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.evaluation.metrics import video_score
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.scoring import model_scorer, score_manifest, with_frame_counts
from anomalyclip.features.cache import FeatureCache
from anomalyclip.features.store import FeatureStore
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.storage import Storage
from anomalyclip.training import validation
from anomalyclip.training.sampling import NORMAL_LABEL, Bag, split_bags
from anomalyclip.training.validation import AUC, LOSS, best_epoch, validate

CLASSES, DIM = ["Arson", "Fighting", "Normal"], 64
NewModel = Callable[[], AnomalyCLIP]


@pytest.fixture
def model(new_model: NewModel) -> AnomalyCLIP:
    return new_model().eval()


def test_the_figure_is_the_auc_of_the_videos_scores(
    model: AnomalyCLIP, bags: list[Bag], cache: Any, config: RunConfig
) -> None:
    scores = [model.score_video(torch.from_numpy(cache.video(bag.video_id)[:, 0])).scores.numpy() for bag in bags]
    of_videos = [video_score(part, config.model.frames_per_segment) for part in scores]
    expected = roc_auc_score([bag.label != NORMAL_LABEL for bag in bags], of_videos)
    assert validate(model, bags, cache, config)[AUC] == pytest.approx(expected)


@pytest.mark.parametrize("rate", [1, 5, None])
def test_a_videos_score_is_that_of_its_rows_in_the_predictions_table(
    model: AnomalyCLIP, bags: list[Bag], put_features: Callable[..., None], storage: Storage, tmp_path: Path,
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, rate: int | None,
) -> None:  # fmt: skip
    store, generator = FeatureStore(storage, f"every-{rate}"), np.random.default_rng(0)
    lengths = {bag.video_id: 160 + 7 * number for number, bag in enumerate(bags)}  # most end within a segment
    for video, length in lengths.items():
        features = generator.normal(size=(-(-length // rate) if rate else 100, DIM)).astype(np.float16)
        put_features(store, video, features, rate or 1, length)
    rows = [(bag.video_id, bag.video_id, "test", [], [], lengths[bag.video_id], bag.video_id) for bag in bags]
    manifest = pl.DataFrame(rows, schema={**SCHEMA, "source": pl.String()}, orient="row")
    scorer = model_scorer(model, rate, "d")
    score_manifest(scorer, with_frame_counts(manifest, store, rate), "m", store, tmp_path / "p.parquet")
    predictions = read_predictions(tmp_path / "p.parquet")
    expected = {
        video: video_score(
            predictions.scores[predictions.frames_of(number)],
            config.model.frames_per_segment * (rate or Fraction(lengths[video], 100)),
        )
        for number, video in enumerate(predictions.video_ids)
    }
    judged: list[float] = []
    monkeypatch.setattr(validation, "roc_auc_score", lambda truth, scores: judged.extend(scores) or 0.5)
    every = config.model_copy(update={"extraction": ExtractionConfig(sampling_rate=rate)})
    validate(model, bags, FeatureCache.build(store, {video: video for video in lengths}, 1.0), every)
    abnormal, normal = split_bags(bags)
    assert judged == pytest.approx([expected[bag.video_id] for bag in abnormal + normal], rel=1e-5)


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
        assert found == pytest.approx(video_score(mean, config.model.frames_per_segment), rel=1e-5)


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
    assert best_epoch(history, "best") == 2
    assert best_epoch(history[:1], "best") == 0
