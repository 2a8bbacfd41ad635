from dataclasses import replace

import pytest

from anomalyclip.config import ModelConfig
from anomalyclip.evaluation.intervals import Difference, Interval
from anomalyclip.tuning.ablation_tables import (
    DEFAULT,
    SEED,
    TABLES,
    Row,
    RowFigures,
    Table,
    distinct_rows,
    labels,
    paper_table,
)

TABLE = Table(5, "Temporal model", ("Model", "Axes"), (
    Row(("MLP", "none"), {"temporal": "mlp"}, 74.86, 84.46),
    Row(("axial", "two"), {}, 86.36, 90.66),
))  # fmt: skip
OUTCOMES = {
    "mlp": RowFigures(
        [0.7, 0.72], [0.5, 0.5],
        {"auc": Difference(-0.09, Interval(-0.1234, -0.0566)), "m_auc": Difference(0.001, None)},
    ),
    "default": RowFigures([0.8, 0.8], [0.49, 0.508], None),
}  # fmt: skip


def test_every_row_of_the_paper_changes_one_setting_and_the_full_method_none() -> None:
    rows = distinct_rows(TABLES)
    assert next(iter(rows)) == DEFAULT
    ours = rows.pop("class_means")
    assert (ours.auc, ours.change) == (None, {"initial_directions": "class_means", "directions": "free"})
    assert set(rows) == {DEFAULT, "free", "engineered", "frozen", "cosine", "magnitude", "mlp", "transformer"}
    for name, row in rows.items():
        changed = ModelConfig(**row.change).model_dump().items() - ModelConfig().model_dump().items()
        assert [value for _, value in changed] == ([] if name == DEFAULT else [name])


def test_a_trial_is_named_by_its_row_and_seed() -> None:
    for name, row in distinct_rows(TABLES).items():
        assert row.point(7)[SEED] == 7
        assert labels(row.point(7)) == {"row": name, "seed": "7"}


def test_every_table_ends_with_the_full_method_at_the_papers_figures() -> None:
    assert [table.number for table in TABLES] == [3, 4, 5]
    for table in TABLES:
        assert (table.rows[-1].name, table.rows[-1].auc, table.rows[-1].m_auc) == (DEFAULT, 86.36, 90.66)
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}


def test_a_table_holds_means_deviations_and_differences_beside_the_papers_figures() -> None:
    title, blank, *table, _, note, _ = paper_table(TABLE, OUTCOMES, [1024, 1025]).split("\n")
    assert (title, blank) == ("### Table 5. Temporal model", "")
    assert table == [
        "| Model | Axes | AUC | mAUC | ΔAUC | ΔmAUC | paper AUC | paper mAUC |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
        "| MLP | none | 71.00 ± 1.41 | 50.00 ± 0.00 | -9.00 (-12.34 to -5.66) | +0.10 | 74.86 | 84.46 |",
        "| axial | two | 80.00 ± 0.00 | 49.90 ± 1.27 |  |  | 86.36 | 90.66 |",
    ]
    assert "seeds 1024, 1025" in note


@pytest.mark.parametrize("figures, shown", [([0.5], "50.00"), ([None], "undefined"), ([0.5, None], "undefined")])
def test_one_training_has_no_deviation_and_an_undefined_figure_no_mean(figures: list[float | None], shown: str) -> None:
    outcomes = {**OUTCOMES, "mlp": replace(OUTCOMES["mlp"], m_auc=figures, difference={"auc": None, "m_auc": None})}
    assert f"| {shown} | undefined | undefined | 74.86 |" in paper_table(TABLE, outcomes, [1])
