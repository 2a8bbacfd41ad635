"""The recipes of docs/extending.md, applied to a copy of the project and used there."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DrawVideo = Callable[..., Path]
BLOCK = re.compile(r"^`(\S+)`( \(new\))?:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
Recipes = Mapping[str, list[tuple[str, str, str]]]
"""The blocks of each section: the file, whether it is new, and the text."""

USE = """
import numpy as np
import torch
from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.settings import build_config
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Digests, Predictions
from anomalyclip.evaluation.zero_shot import zero_shot
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.training.setup import build_model

classes = ["Arson", "Normal"]
backbone = load_backbone(BackboneConfig(name="clip-convnext", weights="random"))
sizes = ["model.embedding_dim=16", "model.heads=2", "model.segments=4", "model.frames_per_segment=4", "model.k=1"]
config = build_config(RunConfig(), overrides=["model.temporal=convolution", *sizes])
model = build_model(classes, backbone, torch.zeros(64), config).eval()
print(type(model.temporal.convolution).__name__, tuple(model.score_video(torch.randn(50, 64)).scores.shape))

features = FrameEncoder(backbone, "float32", torch.device("cpu"))(np.zeros((2, 120, 160, 3), np.uint8))
print(features.shape, backbone.preprocess.resize_mode, zero_shot(backbone, classes).classes)

scores, truth = np.array([0.25, 0.25, 0.75, 1.0]), np.array([[False], [False], [True], [True]])
predictions = Predictions(
    video_ids=("v",), offsets=np.array([0, 4]), scores=scores, probabilities=np.stack([scores, 1 - scores], axis=1),
    truth=truth, video_truth=np.array([[True]]), known=np.array([True]), classes=("Arson", "Normal"),
    label_classes=("Arson",), digests=Digests("m", "a", "x"), segment_frames=1,
)
print(compute_metrics(predictions).flat()["score_gap"])

from anomalyclip.tuning.comparison_table import ROWS

config = build_config(RunConfig(), overrides=["model.method=perceptron", *sizes])
added = build_model(classes, None, torch.zeros(24), config)
terms = added.loss_terms(added(torch.randn(4, 4, 4, 24)), torch.tensor([0, 0]), RunConfig().loss)
print(ROWS[0].title, *terms, tuple(added.eval().score_video(torch.randn(50, 24)).probabilities.shape))
"""


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    _, *sections = (ROOT / "docs" / "extending.md").read_text().split("\n## ")
    return {section.partition("\n")[0]: BLOCK.findall(section) for section in sections}


@pytest.fixture(scope="module")
def extended(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with everything added that the page adds."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("anomalyclip", "tuning", "workflows"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, new, text in (block for blocks in recipes.values() for block in blocks):
        if new:
            assert not (copy / name).exists()
            (copy / name).write_text(text)
        else:
            edit(copy / name, text)
    return copy


def edit(file: Path, changes: str) -> None:
    """Apply changes; the lines of each part that are kept or removed must stand together exactly once."""
    for part in changes.split("@@\n"):
        lines = part.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert file.read_text().count(before) == 1, f"{file.name} has other lines than docs/extending.md:\n{before}"
        file.write_text(file.read_text().replace(before, after))


def run(extended: Path, *arguments: str) -> str:
    """Run Python in the copy; returns standard output."""
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    line = [sys.executable, *arguments]
    done = subprocess.run(line, cwd=extended, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scored(extended: Path) -> Sequence[str]:
    """What USE prints: one process, because its libraries take seconds to import."""
    return run(extended, "-c", USE).splitlines()


def test_every_recipe_touches_as_many_files_as_the_page_promises(recipes: Recipes) -> None:
    counts = {"1": 1, "1 and its library part": 2, "2": 2, "4": 4}
    page = (ROOT / "docs" / "extending.md").read_text()
    promised = re.findall(r"^\| \[(.+)\]\(#.+\) \| (.+) \|$", page, re.MULTILINE)
    touched = {name: len({file for file, _, _ in blocks}) for name, blocks in recipes.items()}
    assert touched == {name.capitalize(): counts[files] for name, files in promised}


def test_an_added_temporal_architecture_is_a_setting_and_scores_frames(scored: Sequence[str]) -> None:
    assert scored[0] == "FrameConvolution (50,)"


def test_an_added_backbone_family_encodes_frames_and_texts(scored: Sequence[str]) -> None:
    assert scored[1] == "(2, 1, 64) squash ('Arson', 'Normal')"


def test_an_added_figure_is_computed_with_the_others(scored: Sequence[str]) -> None:
    assert scored[2] == "0.625"


def test_an_added_competitor_trains_scores_and_has_a_row(scored: Sequence[str]) -> None:
    assert scored[3] == "perceptron score (50, 2)"


def test_an_added_dataset_becomes_a_manifest(extended: Path, draw_video: DrawVideo, tmp_path: Path) -> None:
    for name in ("train/gate-Normal-1", "train/gate-Fighting-1", "test/yard-Normal-2", "test/yard-Fighting-2"):
        (path := tmp_path / f"{name}.mp4").parent.mkdir(exist_ok=True)
        draw_video(path)
    result = json.loads(run(extended, "workflows/make_manifest.py", "campus", str(tmp_path)))
    assert (result["videos"], result["anomalous_frames"]) == ({"test": 2, "train": 2}, 24)


def test_an_added_workflow_is_a_command(extended: Path, drawn_manifest: Path, tmp_path: Path) -> None:
    assert re.search(r"\n  count +The videos of a manifest, counted by split.\n", run(extended, "-m", "anomalyclip"))
    line = ["-m", "anomalyclip", "count", str(drawn_manifest), "--storage", str(tmp_path)]
    assert json.loads(run(extended, *line)) == {"videos": {"test": 6, "train": 16}}
