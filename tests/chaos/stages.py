"""The commands under test: what each starts from, its line, and who can be killed in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import yaml

from tests.long_footage import draw_long

if TYPE_CHECKING:
    from tests.chaos.world import World

FITTED = ("training.epochs=2", "training.warmup_epochs=1", "training.learning_rate=1e-3", "training.batch_size=8",
          "training.final_fit=false", "model.embedding_dim=16", "model.heads=2")  # fmt: skip
POLICY = {
    "floors": {"auc": 0.1, "m_auc": 0.1},
    "margins": {"auc": 1.0, "m_auc": 1.0, "class_auc": 1.0},
    "baselines": {"above_chance": False, "beats_zero_shot": None, "beats_linear": None, "beats_mil": None},
}
LONG = 65_536
"""Frames of a long video."""
RAY = ("driver", "worker", "raylet", "GCS")


@dataclass(frozen=True)
class Stage:
    """A command, and all that is needed to break it."""

    name: str
    line: Callable[["World"], list[str]]
    """The command's arguments, its file first, without the storage root."""
    after: str | None
    """The stage whose root it starts from; None for an empty one."""
    roles: tuple[str, ...] = ("driver",)
    tolerance: float = 0.0
    """Relative difference that weights and scores may have."""
    arrange: Callable[["World"], None] = lambda world: None
    """Put into the root what the command needs beside `after`."""
    server: bool = False
    """Whether it tracks on an MLflow server of its own."""


def _extract(world: "World") -> list[str]:
    return ["workflows/extract.py", str(world.manifest)]


def _extract_long(world: "World") -> list[str]:
    """Three videos of 16 parts each, so that a kill finds some done, some in work and some not begun."""
    manifest = world.folder / "long/manifest.csv"
    if not manifest.exists():
        manifest.parent.mkdir(exist_ok=True)
        names = [draw_long(manifest.parent / f"long_{number}.mp4", frames=LONG).stem for number in range(3)]
        lines = [f"{name},{name}.mp4,train,,,{LONG}" for name in names]
        manifest.write_text("\n".join(["video_id,path,split,labels,anomalies,num_frames", *lines]) + "\n")
    return ["workflows/extract.py", str(manifest), *_set(f"extraction.part_frames={LONG // 16}")]


def _train(*more: str) -> Callable[["World"], list[str]]:
    return lambda world: ["workflows/train.py", str(world.manifest), "--name", "chaos", *_set(*FITTED, *more)]


def _evaluate(world: "World") -> list[str]:
    return ["workflows/evaluate.py", str(world.root / "runs/chaos/model"), str(world.manifest), "--name", "again"]


def _search(world: "World") -> list[str]:
    space = _write(world.folder / "space.yaml", {"model.k": [1, 3]})
    return ["tuning/search.py", str(world.manifest), "--space", str(space), "--name", "tiny", *_set(*FITTED)]


def _score(world: "World") -> list[str]:
    return ["workflows/score.py", str(world.root / "runs/chaos/model"), world.footage, "--threshold", "0.5"]


def _promote(world: "World") -> list[str]:
    policy = {"evaluation": {"manifest": str(world.manifest)}, **POLICY}
    place = _write(world.folder / "policy.yaml", policy)
    return ["workflows/promote.py", "anomalyclip", "--version", "1", "--policy", str(place)]


def _collect(world: "World") -> list[str]:
    return ["workflows/storage.py", "gc", "--older-than", "7", "--manifest", str(world.manifest)]


def _import(world: "World") -> list[str]:
    folder = world.folder / "numbers"
    if not folder.exists():
        folder.mkdir()
        for number, row in enumerate(pl.read_csv(world.manifest).iter_rows(named=True)):
            features = np.random.default_rng(number).normal(size=(row["num_frames"], 512)).astype(np.float32)
            np.save(folder / f"{row['video_id']}.npy", features)
    return ["workflows/import_features.py", str(world.manifest), str(folder), "--as", "theirs"]


def _leave_garbage(world: "World") -> None:
    """Objects that no source has, half files, and a run that MLflow does not know; all of it a month old."""
    (store,) = (world.root / "features").iterdir()
    for number in range(300):
        (store / f"{number:032x}.parquet").write_bytes(b"of nobody")
        (store / f"{number:032x}.parquet.{number:08x}.partial").write_bytes(b"half")
    for path in sorted((world.root / "runs/chaos").rglob("*")):
        if path.is_file():
            copy = world.root / "runs/unknown" / path.relative_to(world.root / "runs/chaos")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    record = world.root / "runs/unknown/mlflow.json"
    record.write_text(record.read_text().replace('"run_id": "', '"run_id": "0000')[:-1] + "}")
    world.age(days=30)


def _set(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _write(path: Path, value: object) -> Path:
    path.write_text(yaml.safe_dump(value))
    return path


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("extract", _extract, None, (*RAY, "decoder")),
        Stage("extract, long videos", _extract_long, None, (*RAY, "decoder")),
        Stage("import", _import, None),
        Stage("train", _train(), "extract", RAY),
        Stage("train, 2 workers", _train("training.workers=2"), "extract", RAY, tolerance=1e-5),
        Stage("train, server", _train(), "extract", ("driver", "MLflow server"), server=True),
        Stage("evaluate", _evaluate, "train"),
        Stage("score", _score, "train", ("driver", "decoder")),
        Stage("promote", _promote, "train"),
        Stage("gc", _collect, "train", arrange=_leave_garbage),
        Stage("search", _search, "extract", RAY),
    )
}
"""In an order in which each comes after the stage that it starts from."""
