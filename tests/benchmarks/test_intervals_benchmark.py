"""Intervals at UCF-Crime's size (290 videos, 1.1 million frames, 14 classes), single and paired, beside one AUC."""

from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.metrics import roc_auc_score

from anomalyclip.evaluation.comparison import compare
from anomalyclip.evaluation.declarations import Table
from anomalyclip.evaluation.figures import auc, mean_of
from anomalyclip.evaluation.predictions import Digests, Predictions
from tests.predicted import in_memory

VIDEOS, FRAMES, ABNORMAL = 290, 1_100_000, 13


@pytest.fixture(scope="module")
def table() -> Predictions:
    return drawn_table()


def drawn_table() -> Predictions:
    """Predictions at UCF-Crime's size, scores a little higher in true intervals."""
    rng = np.random.default_rng(0)
    inner = np.sort(rng.choice(np.arange(1, FRAMES), VIDEOS - 1, replace=False))
    offsets = np.concatenate([[0], inner, [FRAMES]]).astype(np.int64)
    names = tuple(f"class {i:02d}" for i in range(ABNORMAL))
    truth = np.zeros((FRAMES, ABNORMAL), dtype=np.bool_)
    for video in range(0, VIDEOS, 2):
        start, end = offsets[video : video + 2]
        truth[start : start + (end - start) // 6 + 1, (video // 2) % ABNORMAL] = True
    noise = rng.random((FRAMES, ABNORMAL + 1), dtype=np.float32)
    probabilities = noise * np.float32(0.8)
    probabilities[:, :ABNORMAL] += truth * np.float32(0.2)
    return in_memory(
        video_ids=tuple(f"video {i}" for i in range(VIDEOS)),
        offsets=offsets,
        scores=1 - probabilities[:, ABNORMAL],
        probabilities=probabilities,
        truth=truth,
        classes=(*names, "Normal"),
        label_classes=names,
        digests=Digests("m", "a", "x"),
    )


def both_intervals(table: Predictions) -> None:
    for found in (auc(Table(table)), mean_of("auc")(Table(table))):
        assert found and found.interval


@pytest.mark.accept
@pytest.mark.benchmark(group="intervals, CPU seconds", timer=process_time)
def test_both_intervals(benchmark: BenchmarkFixture, table: Predictions) -> None:
    benchmark.pedantic(both_intervals, args=(table,), rounds=2)  # type: ignore[no-untyped-call]
    if benchmark.stats:
        assert benchmark.stats["min"] < 10


@pytest.mark.accept
@pytest.mark.benchmark(group="intervals, CPU seconds", timer=process_time)
def test_two_models_side_by_side(benchmark: BenchmarkFixture, table: Predictions) -> None:
    benchmark.pedantic(compare, args=(table, table), rounds=2)  # type: ignore[no-untyped-call]
    if benchmark.stats:
        assert benchmark.stats["min"] < 10


@pytest.mark.accept
@pytest.mark.benchmark(group="intervals, CPU seconds", timer=process_time)
def test_baseline_one_plain_auc(benchmark: BenchmarkFixture, table: Predictions) -> None:
    benchmark.pedantic(roc_auc_score, args=(table.anomalous, table.scores), rounds=2)  # type: ignore[no-untyped-call]
