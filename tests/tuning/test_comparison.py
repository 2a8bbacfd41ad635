"""The comparison with competitors end to end on few rows, and what it says of features without a text tower."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalyclip.config import ModelConfig, RunConfig, TrainingConfig
from anomalyclip.evaluation.intervals import Difference, Interval
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.methods import METHODS
from anomalyclip.training.sampling import NORMAL_LABEL, Bag
from anomalyclip.tuning import comparison_table
from anomalyclip.tuning.ablation_tables import SEED, RowFigures, labels
from anomalyclip.tuning.comparison_table import OURS, ROWS, ZERO_SHOT, ComparisonTable
from tests.commands import ablate as main

Compare = Callable[..., dict[str, Any]]
FEW = ("sultani", "vadclip", ZERO_SHOT, OURS)


def test_every_method_has_a_row_and_the_full_one_stands_last() -> None:
    assert {row.name for row in ROWS} == {*METHODS, ZERO_SHOT}
    assert (ROWS[-1].name, ROWS[-1].auc, ROWS[-1].m_auc) == (OURS, 86.36, 90.66)
    assert len({row.title for row in ROWS}) == len(ROWS)


def prepared(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A job on imported features of 400 numbers, without a text tower."""
    config = RunConfig(
        model=ModelConfig(directions="free"), training=TrainingConfig(batch_size=8, epochs=2, warmup_epochs=1)
    )
    bags = [Bag(f"a{i}", i % 2) for i in range(40)] + [Bag(f"n{i}", NORMAL_LABEL) for i in range(4)]
    plan = SimpleNamespace(config=config, classes=["Arson", "Fighting", "Normal"], bags=lambda split: bags)
    monkeypatch.setattr(comparison_table, "feature_dim", lambda job, backbone: 400)
    return SimpleNamespace(config=config), SimpleNamespace(plan=plan, backbone=None)


def test_rows_that_read_class_names_are_left_out_with_a_reason_where_there_is_no_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, training = prepared(monkeypatch)
    points = ComparisonTable().points(job, training, seeds=2)
    assert list(points) == ["sultani", "rtfm", "s3r", "ssrl", OURS]
    figures = RowFigures(
        [0.7, 0.72], [0.5, 0.5], {"auc": Difference(-0.09, Interval(-0.1, -0.05)), "m_auc": None}, [0.6, 0.62]
    )
    text = ComparisonTable().texts(job, training, dict.fromkeys(points, figures), [1024, 1025])["comparison"]
    assert (
        "| RTFM | 71.00 ± 1.41 | 50.00 ± 0.00 | 61.00 ± 1.41 | -9.00 (-10.00 to -5.00) | undefined | 84.03 | 84.86 |"
        in text
    )
    assert "| Sultani et al. | 71.00 ± 1.41 | 50.00 ± 0.00 | 61.00 ± 1.41 |" in text and "| 77.92 |  |" in text
    for title in ("ActionCLIP head", "VadCLIP", "zero-shot CLIP"):
        assert f"- left out: {title} compares features with texts" in text
        assert f"| {title} |" not in text
    assert "2 seeds (from 1024" in text and "at least 3000 steps" in text


def test_competitors_train_for_the_steps_of_the_table_and_the_method_as_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, training = prepared(monkeypatch)
    points = ComparisonTable().points(job, training, seeds=2)
    # 40 abnormal videos, 4 in a step: 10 steps per epoch
    assert points["rtfm"] == [{"model.method": "rtfm", "training.epochs": 300, SEED: seed} for seed in (1024, 1025)]
    assert [point[SEED] for point in points["ssrl"]] == [10, 11]
    assert points[OURS] == [{"model.method": OURS, SEED: seed} for seed in (1024, 1025)]
    monkeypatch.setattr(comparison_table, "STEPS", 10)
    assert ComparisonTable().points(job, training, seeds=1)["rtfm"][0]["training.epochs"] == 2  # more than the warm-up
    assert labels(points["rtfm"][0]) == {"row": "rtfm", "seed": "1024"}


@pytest.fixture
def compare(
    ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Compare:
    """Run the command for few rows and steps."""
    monkeypatch.setattr(comparison_table, "STEPS", 4)
    monkeypatch.setattr(comparison_table, "ROWS", tuple(row for row in ROWS if row.name in FEW))
    common = ["--table", "comparison", "--storage", str(storage_root), *options, "--set", "training.epochs=2"]
    return lambda *arguments: main([str(drawn_manifest), *common, *arguments])


@pytest.mark.cluster
def test_methods_come_out_side_by_side_and_are_not_trained_again(compare: Compare, storage_root: Path) -> None:
    result = compare("--name", "methods", "--seeds", "1")
    assert list(result["rows"]) == ["sultani", "vadclip", OURS, ZERO_SHOT]
    assert compare("--name", "methods", "--seeds", "1") == result
    text = (storage_root / "ablations/methods/tables/comparison.md").read_text()
    lines = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in text.split("\n") if "|" in line}
    for name in FEW:
        row = next(row for row in ROWS if row.name == name)
        cells = lines[row.title]
        assert cells[0] == f"{100 * result['rows'][name]['auc'][0]:.2f}"
        assert f"- {row.title}: {row.note}." in text
    # no classes: its mAUC is the floor
    assert lines["Sultani et al."][1] == lines["Sultani et al."][2]
    difference = 100 * (result["rows"]["vadclip"]["auc"][0] - result["rows"][OURS]["auc"][0])
    assert lines["VadCLIP"][3].startswith(f"{difference:+.2f}")
    assert lines["AnomalyCLIP"][3:5] == ["", ""]
    floors = []
    for folder in (storage_root / "ablations/methods/trials").iterdir():
        found = read_predictions(folder / "evaluation/predictions.parquet")
        areas = [roc_auc_score(found.truth_of(name), found.scores) for name in ("Explosion", "Fighting")]
        floors.append(f"{100 * np.mean(areas):.2f}")
    assert sorted(floors) == sorted(lines[METHODS[name].title][2] for name in FEW if name != ZERO_SHOT)
