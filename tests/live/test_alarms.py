"""Thresholds from live scores of normal videos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip.config import BackboneConfig, EventsConfig, ModelConfig
from anomalyclip.data.schema import SCHEMA
from anomalyclip.evaluation.scoring import bundle_scorer, score_tracks, with_frame_counts
from anomalyclip.events.alarms import AlarmTable, count_alarms, load_alarms, save_alarms
from anomalyclip.features.store import FeatureStore
from anomalyclip.live.alarms import live_alarms
from anomalyclip.live.layouts import Layout
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, write_bundle
from anomalyclip.model.directions import FixedDirections
from anomalyclip.storage import Storage

CPU, SETTINGS = torch.device("cpu"), EventsConfig(shortest=0.2, gap=0.2)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(segments=4, frames_per_segment=5, embedding_dim=16, heads=2)
    model = AnomalyCLIP(FixedDirections(torch.randn(2, 8)), ("A", "B", "Normal"), 2, torch.randn(8), config)
    card = ModelCard(
        classes=model.classes, normal_index=2, model=config, backbone=BackboneConfig(), backbone_identity="x",
        sampling_rate=2, lengths=(40, 300),
    )  # fmt: skip
    write_bundle(tmp_path / "model", model.bundle_tensors(model.state_dict()), card)
    return tmp_path / "model"


def test_alarms_are_counted_on_live_scores(
    bundle: Path, storage: Storage, put_features: Callable[..., None], tmp_path: Path
) -> None:
    store, counts = FeatureStore(storage, "print"), {"v1": 90, "v2": 151}
    for number, (name, count) in enumerate(counts.items()):
        features = np.random.default_rng(number).normal(size=(count, 8)).astype(np.float16)
        put_features(store, f"/{name}.mp4", features, sampling_rate=2, num_frames=2 * count)
    rows = [(name, f"{name}.mp4", "val", [], [], None, f"/{name}.mp4") for name in counts]
    normal = pl.DataFrame(rows, schema={**SCHEMA, "source": pl.String()}, orient="row")
    normal = with_frame_counts(normal, store, 2)

    def counted(layout: Layout | None) -> AlarmTable:
        table = live_alarms(bundle, normal, store, SETTINGS, True, CPU, layout)
        assert table is not None
        return table

    offline = count_alarms(score_tracks(bundle_scorer(bundle, CPU), normal, store), SETTINGS, True)
    assert counted(Layout(span=302, hop=1, delay=151)) == offline  # windows over whole videos
    live = counted(None)
    assert (live.videos, live.hours) == (2, offline.hours) and live.thresholds != offline.thresholds
    save_alarms(bundle, live)
    assert load_alarms(bundle) == live
    assert live_alarms(bundle, normal.clear(), store, SETTINGS, True, CPU) is None
