"""Baselines of a training: what is made, kept with the run, logged and compared, and what is not made."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip.baselines.linear import fit_linear, load_linear
from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig, TrainingConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.baselines import NO_TEXT_TOWER, Absent
from anomalyclip.evaluation.comparison import Measured, measure
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.scoring import Scorer, with_frame_counts
from anomalyclip.evaluation.standing import Standing
from anomalyclip.features.store import FeatureStore
from anomalyclip.jobs import baseline_models
from anomalyclip.jobs.baseline_models import Maker, kept_scorer, makers
from anomalyclip.jobs.baselines import log_standing, make_and_compare
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.sources import Source
from anomalyclip.model.bundle import ModelCard
from anomalyclip.runs import RunFolder
from anomalyclip.storage import Storage
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.setup import bags_of

CLASSES = ("Arson", "Normal", "Riot")
CARD = ModelCard(
    classes=CLASSES, normal_index=1, model=ModelConfig(), backbone=BackboneConfig(), backbone_identity="tower",
    sampling_rate=1,
)  # fmt: skip
FRAMES, DIM = 40, 8


class Place:
    """A finished fit on six videos, two more held out, and five test videos."""

    def __init__(self, storage: Storage, put: Callable[..., None]) -> None:
        self.storage, self.store, self.tracking = storage, FeatureStore(storage, "print"), MagicMock()
        self.run = RunFolder(storage, "runs", "street", {})
        rows: list[tuple[Any, ...]] = []
        for split, count in (("train", 6), ("val", 2), ("test", 5)):
            for number in range(count):
                label, name = ("Arson", "", "Riot", "")[number % 4], f"{split}-{number}"
                features = np.random.default_rng(len(rows)).normal(size=(FRAMES, DIM)).astype(np.float16)
                features[:, CLASSES.index(label or "Normal")] += 3 * bool(label)
                put(self.store, f"{name}.mp4", features)
                anomalies = [{"start": 20, "end": 30, "labels": []}] if label and split == "test" else []
                rows.append((name, f"{name}.mp4", split, [label] if label else [], anomalies, FRAMES))
        table = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(source=pl.col("path"))
        self.source = Source(Path("street.csv"), table, "digest", False)
        self.extracted = Extracted(self.store, with_frame_counts(table, self.store, 1), [], "float32")
        self.plan = FitPlan(
            config=RunConfig(training=TrainingConfig(batch_size=4)), storage_root=storage.root, key=self.run.key,
            classes=CLASSES, train=bags_of(table, "train", CLASSES), validation=bags_of(table, "val", CLASSES),
            backbone_identity="tower", fingerprint="print",
            sources={name: f"{name}.mp4" for name, _, split, *_ in rows if split != "test"},
        )  # fmt: skip

    def compare(self, model: Measured | None, by_name: Mapping[str, Maker] | None = None) -> Standing | None:
        """Make the baselines of the plan, or those given."""
        asked = makers(self.plan, CARD, None) if by_name is None else by_name
        return make_and_compare(self.tracking, self.run, self.source, self.extracted, model, asked)

    def file(self, name: str) -> Path:
        """A file of the run."""
        return Path(self.storage.path(self.run.part(name)))


@pytest.fixture
def place(storage: Storage, put_features: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(baseline_models, "MIL_STEPS", 3)
    return Place(storage, put_features)


@pytest.fixture
def model(place: Place) -> Measured:
    """The figures of a model on the test videos: those of the linear baseline serve as well as any."""
    place.compare(None, {"linear": makers(place.plan, CARD, None)["linear"]})
    return measure(read_predictions(place.file("linear/predictions.parquet")))


def test_all_are_kept_with_the_run_logged_and_compared(place: Place, model: Measured) -> None:
    found = place.compare(model)
    assert found is not None and [each.baseline.name for each in found.against] == ["zero_shot", "linear", "mil"]
    assert found.against[0].other is NO_TEXT_TOWER
    for name, files in (
        ("linear", ["linear.json", "linear.safetensors"]),
        ("mil", ["model.json", "model.safetensors"]),
    ):
        for file in (*files, "predictions.parquet", "metrics.json"):
            assert place.file(f"{name}/{file}").is_file()
        table = read_predictions(place.file(f"{name}/predictions.parquet"))
        assert table.digests.model == kept_scorer(name, place.file(name), CARD).digest
    logged = {key for call in place.tracking.log_metrics.call_args_list for key in call.args[0]}
    assert {"linear_auc", "linear_m_auc", "mil_auc", "mil_video_auc"} <= logged
    assert {call.args[1] for call in place.tracking.log_artifacts.call_args_list} == {"linear", "mil"}
    place.tracking.log_tags.assert_called_once_with(found.tags())


def test_a_second_attempt_makes_the_same_whatever_the_order_of_the_videos(place: Place) -> None:
    place.compare(None)
    before = {name: pl.read_parquet(place.file(f"{name}/predictions.parquet")) for name in ("linear", "mil")}
    torch.rand(3)
    place.plan = replace(place.plan, train=place.plan.train[::-1])
    place.compare(None)
    for name, table in before.items():
        assert pl.read_parquet(place.file(f"{name}/predictions.parquet")).equals(table)


def test_settings_of_the_method_change_no_baseline(place: Place) -> None:
    place.compare(None)
    before = {name: pl.read_parquet(place.file(f"{name}/predictions.parquet")) for name in ("linear", "mil")}
    own = ModelConfig(standardise=True, linear=True, smoothing=4.0, depth=2)
    training = TrainingConfig(
        batch_size=4, epochs=40, learning_rate=1.0, workers=2, final_fit=True, chosen_epoch="last"
    )
    place.plan = replace(place.plan, config=RunConfig(model=own, training=training))
    place.compare(None)
    for name, table in before.items():
        assert pl.read_parquet(place.file(f"{name}/predictions.parquet")).equals(table)


def test_they_learn_from_the_held_out_videos_too(place: Place) -> None:
    place.compare(None)
    rows = place.source.table.filter(pl.col("split") != "test").sort("video_id")
    means = np.stack([place.store.read_features(source).astype(np.float64).mean((0, 1)) for source in rows["source"]])
    expected = fit_linear(means, [labels[0] if labels else "Normal" for labels in rows["labels"].to_list()], CLASSES)
    found = load_linear(place.file("linear"))
    torch.testing.assert_close(found.tensors["weight"], expected.tensors["weight"])


@pytest.mark.parametrize("error", [UsageError, JobError])
def test_one_that_cannot_be_made_is_a_row_that_says_why(
    place: Place, model: Measured, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(folder: Path) -> Scorer:
        raise error("2 videos are too few")

    found = place.compare(model, {"linear": makers(place.plan, CARD, None)["linear"], "mil": fails})
    assert found is not None and found.against[1].other == Absent("2 videos are too few")
    assert found.tags()["beats_mil"] == "unknown"
    assert not place.file("mil").exists()
    with caplog.at_level("INFO", "anomalyclip"):
        log_standing(found)
    (row,) = (line.split() for line in caplog.messages[0].splitlines() if "MIL ranking" in line)
    assert row == ["MIL", "ranking", "none", "none", "none", "2", "videos", "are", "too", "few"]
    assert caplog.records[1].levelname == "WARNING"  # the model is the linear baseline: it does not beat itself


def test_without_test_videos_they_are_kept_for_a_later_judgement(place: Place) -> None:
    place.extracted = replace(place.extracted, manifest=place.source.table.filter(pl.col("split") != "test"))
    assert place.compare(None) is None
    assert place.file("mil/model.safetensors").is_file() and place.file("linear/linear.json").is_file()
    assert not place.file("linear/predictions.parquet").exists()
    place.tracking.log_metrics.assert_not_called()
    place.tracking.log_tags.assert_not_called()
