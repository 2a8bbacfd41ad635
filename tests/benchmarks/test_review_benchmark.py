"""What one round of verdicts is worth: false alarms per hour at equal recall, before and after, on test cameras.

The pool is footage of other cameras, drawn anew for each seed; the known truth answers every event that the first model
finds in it. The test videos are the benchmark's 50 and 150 more that are drawn in the same way.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from anomalyclip.benchmark.footage.videos import FPS, FULL, Size, draw_benchmark, plan
from anomalyclip.config import BackboneConfig, EventsConfig
from anomalyclip.data.labels import class_names
from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.video import VideoReader
from anomalyclip.events.alarms import count_alarms
from anomalyclip.events.detection import OperatingPoint, find_events, find_spans, smooth
from anomalyclip.events.event import Track, even_edges
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.jobs import review
from anomalyclip.presets import preset
from anomalyclip.training.checkpoints import load_learnt_state
from anomalyclip.training.fit import FitData, fit
from anomalyclip.training.sampling import NORMAL_LABEL
from anomalyclip.training.setup import bags_of, build_model, normality_prototype
from tests.benchmark.footage.conftest import InMemory

pytestmark = pytest.mark.accept

SEEDS = (1, 2, 3)
POOL, TEST = Size(57, 9), Size(22, 4)
SHOWN_PER_HOUR = 60.0
"""False alarms per hour at the threshold of the events that are judged."""
EVENTS = EventsConfig()
THRESHOLDS = 1 / (1 + np.exp(-np.linspace(6, -6, 400)))
RECALLS = (0.5, 0.7, 0.8, 0.9)
RESAMPLES = 2000

Found = tuple[NDArray[np.float64], NDArray[np.float64]]
"""False alarms and found true events: each (thresholds, videos)."""


class Bench:
    """Features of videos by content, trainings and scores, without Ray, storage or MLflow."""

    def __init__(self) -> None:
        self.backbone = load_backbone(BackboneConfig())
        self.encoder = FrameEncoder(self.backbone, "float32", torch.device("cpu"))
        self.known: dict[str, NDArray[np.float16]] = {}

    def features(self, source: str) -> NDArray[np.float16]:
        content = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        if content not in self.known:
            rows = np.concatenate([self.encoder(batch) for batch in VideoReader(source)])
            self.known[content] = rows.reshape(len(rows), -1).astype(np.float16)
        return self.known[content]

    def train(self, manifest: Path, seed: int) -> Any:
        config = preset("benchmark")
        config = config.model_copy(update={"training": config.training.model_copy(update={"seed": 1023 + seed})})
        table = load_manifest(manifest).filter(pl.col("split") != "test")
        classes = class_names(table)
        cache: Any = Cache({row["video_id"]: self.features(row["source"]) for row in table.iter_rows(named=True)})
        bags = bags_of(table, "train", classes)
        prototype = normality_prototype(cache, [bag.video_id for bag in bags if bag.label == NORMAL_LABEL])
        model = build_model(classes, self.backbone, prototype, config)
        checkpoints: Any = InMemory()
        fit(model, FitData(bags, bags_of(table, "val", classes), cache), config, checkpoints)
        load_learnt_state(model, checkpoints.best.weights)
        return model.eval().for_scoring()

    def track(self, model: Any, row: Mapping[str, Any]) -> Track:
        features = torch.from_numpy(self.features(row["source"]))
        found = model.score_video(features)
        edges = even_edges(len(features), FPS)
        return Track(row["video_id"], tuple(model.classes), found.scores.numpy(), found.probabilities.numpy(), edges)

    def sweep(self, model: Any, tests: list[dict[str, Any]]) -> Found:
        alarms, found = np.zeros((2, len(THRESHOLDS), len(tests)))
        for video, row in enumerate(tests):
            track = self.track(model, row)
            scores = smooth(track.scores, track.edges, EVENTS.smoothing)
            true = [(interval["start"], interval["end"]) for interval in row["anomalies"]]
            for place, threshold in enumerate(THRESHOLDS):
                spans = find_spans(scores, track.edges, threshold, EVENTS)
                hits = [[start <= last and first <= end for start, end in true] for first, last in spans]
                alarms[place, video] = sum(not any(hit) for hit in hits)
                found[place, video] = sum(map(any, zip(*hits, strict=True)))
        return alarms, found


class Cache:
    """What a training reads of a feature cache."""

    def __init__(self, features: Mapping[str, NDArray[np.float16]]) -> None:
        self.features = features
        self.dim = next(iter(features.values())).shape[1]

    def num_frames(self, video_id: str) -> int:
        return len(self.features[video_id])

    video_frames = num_frames

    def crops(self, video_id: str) -> int:
        return 1

    def video(self, video_id: str) -> NDArray[np.float16]:
        return self.features[video_id][:, None]

    def gather(
        self, video_id: str, frames: NDArray[np.int64], crop: int, out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        return np.take(self.features[video_id], frames, axis=0, out=out)

    def feature_sum(self, video_id: str) -> NDArray[np.float64]:
        return np.asarray(self.features[video_id].sum(axis=0, dtype=np.float64))


def judged(bench: Bench, model: Any, base: Path, folder: Path, seed: int) -> list[dict[str, Any]]:
    """The truth's verdicts on the events that a model finds in a pool of its own."""
    held_out = load_manifest(base).filter((pl.col("split") == "val") & (pl.col("labels").list.len() == 0))
    table = count_alarms((bench.track(model, row) for row in held_out.iter_rows(named=True)), EVENTS, True)
    assert table is not None
    threshold = table.choose(SHOWN_PER_HOUR).threshold
    point = OperatingPoint(detection=threshold, alert=threshold)
    clips = {clip.video_id: clip for clip in plan({"train": POOL}, seed)}
    verdicts = []
    for row in load_manifest(draw_benchmark(folder, {"train": POOL}, seed)).iter_rows(named=True):
        clip = clips[row["video_id"]]
        for event in find_events(bench.track(model, row), point):
            real = any(start <= event.end_frame and event.start_frame <= end for start, end in clip.anomalies)
            said = {"verdict": "true" if real else "false", "corrected_label": clip.label if real else None}
            verdicts.append({**vars(event), **said, "source": row["source"], "decided_at": "2026-11-26T00:00:00Z"})
    print(f"seed {seed}: {len(verdicts)} events, {sum(each['verdict'] == 'true' for each in verdicts)} of them true")
    return verdicts


def alarms_at(
    found: Found, weights: NDArray[np.float64], hours: NDArray[np.float64], true: int, recall: float
) -> float:
    """False alarms per hour at the highest threshold with so much recall, with a weight per video."""
    recalls = (found[1] @ weights) / true
    place = int(np.argmax(recalls >= recall)) if (recalls >= recall).any() else len(recalls) - 1
    return float((found[0][: place + 1] @ weights).max() / (hours @ weights))


def test_a_round_of_verdicts_beside_none(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    bench, base = Bench(), draw_benchmark(tmp_path / "benchmark", FULL)
    tests = load_manifest(base).filter(pl.col("split") == "test").to_dicts()
    for seed in SEEDS:
        tests += load_manifest(draw_benchmark(tmp_path / f"test-{seed}", {"test": TEST}, seed)).to_dicts()
    hours = np.array([row["num_frames"] for row in tests]) / FPS / 3600
    has_event = np.array([bool(row["anomalies"]) for row in tests])
    rounds: list[tuple[Found, Found]] = []
    for seed in SEEDS:
        first = bench.train(base, seed)
        verdicts = judged(bench, first, base, tmp_path / f"pool-{seed}", seed)
        file = tmp_path / f"verdicts-{seed}.json"
        file.write_text(json.dumps({"schema_version": 1, "reviewer": "truth", "verdicts": verdicts}))
        made = review.run(review.prepare(file, base, tmp_path / f"round-{seed}.csv"))
        rounds.append((bench.sweep(first, tests), bench.sweep(bench.train(Path(made.manifest), seed), tests)))
    report(rounds, hours, has_event)


def report(rounds: list[tuple[Found, Found]], hours: NDArray[np.float64], has_event: NDArray[np.bool_]) -> None:
    """Print the mean of both rounds over the seeds, and the paired change with its 95 % bootstrap interval (videos)."""
    generator = np.random.default_rng(0)
    count = len(hours)
    samples = [np.ones(count), *(np.bincount(generator.integers(count, size=count), minlength=count)
                                 for _ in range(RESAMPLES))]  # fmt: skip
    for recall in RECALLS:
        values = np.array([
            [[alarms_at(one, weights, hours, int(weights[has_event].sum()), recall) for one in pair] for pair in rounds]
            for weights in samples
        ])  # fmt: skip
        before, after = values[0].mean(axis=0)
        changes = (values[:, :, 1] - values[:, :, 0]).mean(axis=1)
        low, high = np.percentile(changes[1:], [2.5, 97.5])
        print(
            f"recall {recall}: {before:.1f} to {after:.1f} per hour, {after - before:+.1f} ({low:+.1f} to {high:+.1f})"
        )
        print("  by seed:", ", ".join(f"{one:.1f} to {other:.1f}" for one, other in values[0]))
