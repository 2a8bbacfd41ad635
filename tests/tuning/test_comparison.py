"""The comparison with competitors end to end on few rows, and what it says of features without a text tower."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalyclip.evaluation.predictions import read_predictions
from anomalyclip.methods import METHODS
from anomalyclip.tuning import comparison_table
from anomalyclip.tuning.comparison_table import OURS, ROWS, ZERO_SHOT
from tests.commands import ablate as main

Compare = Callable[..., dict[str, Any]]
FEW = ("sultani", "vadclip", ZERO_SHOT, OURS)


def test_every_method_has_a_row_and_the_full_one_stands_last() -> None:
    assert {row.name for row in ROWS} == {*METHODS, ZERO_SHOT}
    assert (ROWS[-1].name, ROWS[-1].auc, ROWS[-1].m_auc) == (OURS, 86.36, 90.66)
    assert len({row.title for row in ROWS}) == len(ROWS)


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
