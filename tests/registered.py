"""Registered models made by hand, without training: bundles of random weights, and predictions of chosen quality."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

from anomalyclip.baselines.linear import fit_linear, save_linear
from anomalyclip.baselines.sultani import Sultani
from anomalyclip.config import BackboneConfig, ModelConfig
from anomalyclip.data.labels import frame_labels
from anomalyclip.data.manifest import annotations_digest, load_manifest, manifest_digest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import write_predictions
from anomalyclip.features.backbone import load_backbone
from anomalyclip.model.anomaly_clip import AnomalyCLIP
from anomalyclip.model.bundle import ModelCard, bundle_digest, save_bundle
from anomalyclip.model.bundle import write_bundle as write_bundle_files
from anomalyclip.model.directions import FixedDirections
from anomalyclip.runs import PREDICTIONS
from anomalyclip.storage import Storage
from anomalyclip.tracking.registry import log_model, register_model
from anomalyclip.tracking.runs import tracked_run

CLASSES = ("Arson", "Fighting", "Normal")
FRAMES = 24


def draw_manifest(folder: Path, draw_video: object) -> Path:
    """A manifest of nine test videos, three of each class, the first of which is a real video."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(9):
        label, name = CLASSES[number % 3], f"v{number}.mp4"
        draw_video(folder / name, num_frames=FRAMES + number) if number == 0 else (folder / name).write_bytes(b"")
        interval = [{"start": 8, "end": 15, "labels": []}]
        rows.append((f"v{number}", name, "test", [label], [] if label == "Normal" else interval, FRAMES + number))
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), folder / "manifest.csv")
    return folder / "manifest.csv"


def write_bundle(folder: Path, seed: int, classes: tuple[str, ...] = CLASSES, **card: object) -> Path:
    """An untrained model of `clip-tiny`, other weights with every seed."""
    torch.manual_seed(seed)
    config = ModelConfig(embedding_dim=16, heads=2)
    abnormal, normal = len(classes) - 1, classes.index("Normal")
    model = AnomalyCLIP(FixedDirections(torch.randn(abnormal, 64)), classes, normal, torch.zeros(64), config)
    described = {"classes": classes, "normal_index": normal, "model": config, "backbone": BackboneConfig(),
                 "backbone_identity": load_backbone(BackboneConfig()).identity, "sampling_rate": 1, **card}  # fmt: skip
    save_bundle(folder, model.state_dict(), model.directions(), ModelCard.model_validate(described))
    return folder


def write_baseline(folder: Path, kind: str, manifest: Path, quality: float) -> Path:
    """A baseline as a training keeps it: `linear` or `mil`, and its predictions."""
    if kind == "linear":
        model = fit_linear(np.eye(3, 64), list(CLASSES), CLASSES)
        save_linear(folder, model)
        identity = model.digest
    else:
        config = ModelConfig(method="sultani")
        torch.manual_seed(0)
        network = Sultani(CLASSES, CLASSES.index("Normal"), torch.zeros(64), config)
        card = {"classes": CLASSES, "normal_index": CLASSES.index("Normal"), "model": config,
                "backbone": BackboneConfig(), "backbone_identity": "tower", "sampling_rate": 1}  # fmt: skip
        write_bundle_files(folder, network.bundle_tensors(network.state_dict()), ModelCard.model_validate(card))
        identity = bundle_digest(folder)
    write_table(folder / PREDICTIONS, manifest, identity, quality)
    return folder


def write_table(
    target: Path, manifest: Path, model: str, quality: float, classes: tuple[str, ...] = CLASSES,
    of_class: Mapping[str, float] | None = None,
) -> Path:  # fmt: skip
    """Predictions of a manifest's test part: noise, and `quality` times the truth, for a class as `of_class` says."""
    whole = load_manifest(manifest)
    generator = np.random.default_rng(7)

    def predict(row: dict[str, object]) -> VideoPrediction:
        frames = row["num_frames"]
        names, truth = frame_labels(row["anomalies"], row["labels"], frames)
        labels = [[name for name, holds in zip(names, flags, strict=True) if holds] for flags in truth]
        own = quality if of_class is None or not names else of_class.get(names[0], quality)
        noise = generator.random((frames, len(classes) + 1))
        hits = np.array([[bool(on), *((name in on) or (name == "Normal" and not on) for name in classes)]
                         for on in labels])  # fmt: skip
        figures = (noise * (1 - own) + hits * own).astype(np.float32)
        return VideoPrediction(row["video_id"], row["labels"], labels, figures[:, 0], figures[:, 1:])

    test = whole.filter(pl.col("split") == "test")
    digests = Digests(manifest_digest(whole), annotations_digest(test), model)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(target, map(predict, test.iter_rows(named=True)), classes, digests, 16)
    return target


def register(
    tracking_uri: str, storage: Storage, folder: Path, name: str, manifest: Path, quality: float, seed: int = 0,
    of_class: Mapping[str, float] | None = None, baselines: Mapping[str, float] | None = None, **card: object,
) -> str:  # fmt: skip
    """Do what a training does at its end: log a model and its predictions in a run, and register it.

    `baselines` are the fitted ones that it keeps, by name, with the quality of their predictions.
    """
    bundle = write_bundle(folder / f"bundle-{seed}", seed, **card)
    write_table(folder / f"run-{seed}" / PREDICTIONS, manifest, bundle_digest(bundle), quality, of_class=of_class)
    with tracked_run(tracking_uri, storage, "tests", f"run-{seed}") as tracking:
        model_id = log_model(tracking, bundle)
        tracking.log_artifacts(folder / f"run-{seed}", "evaluation")
        for kind, own in (baselines or {}).items():
            tracking.log_artifacts(write_baseline(folder / f"{kind}-{seed}", kind, manifest, own), kind)
        return register_model(tracking, model_id, name)
