"""Figures, manifests, the index of a feature store and a report, at the sizes that they must bear."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalyclip.data.manifest import load_manifest, manifest_digest
from anomalyclip.evaluation.comparison import compare_measured, measure
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.report.page import ReportModel, write_report
from anomalyclip.storage import Storage
from tests.benchmarks.bench import Case
from tests.benchmarks.test_intervals_benchmark import drawn_table
from tests.benchmarks.test_report_benchmark import CLASSES, videos

FILES, IN_A_FOLDER = 100_000, 5000


def cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of tables."""
    predictions = drawn_table()
    yield Case(
        "figures and intervals of 1,100,000 frames", lambda: compute_metrics(predictions),
        "scikit-learn's AUC and average precision, no interval", lambda: _by_sklearn(predictions),
    )  # fmt: skip
    mine, other = measure(predictions), measure(predictions)
    yield Case(
        "comparison of two models", lambda: compare_measured(mine, other), "figures of one",
        lambda: compute_metrics(predictions),
    )  # fmt: skip
    for rows, name in ((FILES, "100,000"), (10 * FILES, "1,000,000")):
        yield Case(
            f"manifest of {name} videos: read, check, digest", partial(_checked, _manifest(folder, rows)),
            "read by Polars, os.stat of each file", partial(_looked_at, _manifest(folder, rows)),
        )  # fmt: skip
    results = [_result(number) for number in range(FILES)]
    yield Case(
        "index: 100,000 results, 500 at a time", lambda: _record(folder, results),
        "one Parquet file of them", lambda: _index(FILES).write_parquet(folder / "plain.parquet"),
    )  # fmt: skip
    store = FeatureStore(Storage(str(folder / "storage")), "million")
    (folder / "storage" / store.key).mkdir(parents=True)
    index = folder / "storage" / store.key / "index.parquet"
    _index(10 * FILES).write_parquet(index)
    yield Case("index of 1,000,000 videos: open", store.index, "Polars alone", lambda: pl.read_parquet(index))
    model = ReportModel("model", 0.5, 0.9, CLASSES, "", "today")
    yield Case(
        "report of 1,000 videos", lambda: write_report(folder, model, videos()),
        "drawing what it shows", lambda: list(videos()),
    )  # fmt: skip


def _by_sklearn(table: Predictions) -> None:
    roc_auc_score(table.anomalous, table.scores)
    average_precision_score(table.anomalous, table.scores)
    for name in table.classes:
        roc_auc_score(table.truth_of(name), table.probability_of(name))
        average_precision_score(table.truth_of(name), table.probability_of(name))


def _manifest(folder: Path, rows: int) -> Path:
    """Write a manifest whose rows share 100,000 files."""
    path = folder / f"{rows}.csv"
    if path.exists():
        return path
    places = [f"f{number // IN_A_FOLDER:03d}/v{number:06d}.mp4" for number in range(FILES)]
    if not (folder / "f000").exists():
        for number in range(0, FILES, IN_A_FOLDER):
            (folder / f"f{number // IN_A_FOLDER:03d}").mkdir()
        for place in places:
            (folder / place).touch()
    with path.open("w") as file:
        file.write("video_id,path,split,labels,anomalies,num_frames\n")
        for number in range(rows):
            split, label = ("train", "test")[number % 100 // 10 % 2], ("", "Arson", "Fighting")[number % 3]
            anomalies = f"{number % 90}-{number % 90 + 9}" if label and split == "test" else ""
            place, frames = places[number // 10 % FILES], 100 + number % 900
            file.write(f"v{number:07d},{place},{split},{label},{anomalies},{frames}\n")
    return path


def _checked(manifest: Path) -> None:
    manifest_digest(load_manifest(manifest))


def _looked_at(manifest: Path) -> None:
    for place in pl.read_csv(manifest)["path"]:
        os.stat(manifest.parent / place)  # noqa: PTH116


def _result(number: int) -> ExtractionResult:
    return ExtractionResult(f"/videos/{number:07d}.mp4", number, number, f"{number:032x}", 3000, 3000, 25.0)


def _record(folder: Path, results: list[ExtractionResult]) -> None:
    storage = Storage(str(folder / f"index-{len(list(folder.glob('index-*')))}"))
    store = FeatureStore(storage, "bench")
    with store.merging():
        for start in range(0, len(results), 500):
            store.record(results[start : start + 500])


def _index(rows: int) -> pl.DataFrame:
    numbers = np.arange(rows)
    names = [f"{number:032x}" for number in numbers]
    return pl.DataFrame(
        {
            "video": [f"/videos/{number:07d}.mp4" for number in numbers], "size": numbers, "mtime": numbers,
            "hash": names, "object": [f"features/million/{name}.parquet" for name in names], "frames": numbers,
            "num_frames": numbers, "fps": np.full(rows, 25.0), "rotated": np.zeros(rows, np.bool_),
        }
    )  # fmt: skip
