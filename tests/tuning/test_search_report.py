from pathlib import Path

import polars as pl
import pytest

from anomalyclip.tuning.search_report import best_of, save_search_report
from anomalyclip.tuning.separation import separate
from anomalyclip.tuning.space import Space, log_between, one_of
from anomalyclip.tuning.trials import Outcome, State

GRID = Space({"model.k": one_of(1, 2, 3, 4)})
DRAWN = Space({"model.k": one_of(1, 2), "training.learning_rate": log_between(1e-5, 1e-2)}, trials=4)


DEPTH = Space({"model.depth": one_of(1, 2)})


def outcome(k: int, auc: float, loss: float = 1.0, state: State = "finished", **more: float) -> Outcome:
    point = {"model.k": k, **{f"training.{name}": value for name, value in more.items()}}
    figures = {"best_epoch": 3.0, "best_video_auc": auc, "best_loss": loss}
    return Outcome(f"trial-{k}-{auc}", f"k={k}", point, state, 5, figures)


def table(auc: float) -> pl.DataFrame:
    """Scores of five abnormal videos and ten normal ones; each normal video above an abnormal one costs 0.02."""
    above = round((1 - auc) * 50)
    abnormal = [10 - above // 5 - 0.5 - (number < above % 5) for number in range(5)]
    return pl.DataFrame(
        {
            "video_id": [f"v{number}" for number in range(15)],
            "abnormal": [number < 5 for number in range(15)],
            "score": [*abnormal, *map(float, range(10))],
        }
    )


FAILED = Outcome("trial-4", "k=4", {"model.k": 4, "training.learning_rate": 1e-3}, "failed", 0, {}, "=a | b")


def test_the_best_has_the_highest_auc_then_the_lowest_loss_then_comes_first() -> None:
    assert best_of([outcome(1, 0.8), outcome(2, 0.9), FAILED], GRID).name == "k=2"
    assert best_of([outcome(1, 0.9, 2.0), outcome(2, 0.9, 1.0)], DEPTH).name == "k=2"
    assert best_of([outcome(1, 0.9), outcome(2, 0.9)], GRID).name == "k=1"


@pytest.mark.parametrize("row", ["model.k", "loss.smooth", "loss.top_k_abnormal + loss.top_k_normal"])
def test_losses_of_other_terms_or_weights_break_no_tie(row: str) -> None:
    space = Space({"model.depth": one_of(1, 2), row: one_of(1, 2)})
    assert best_of([outcome(1, 0.9, 2.0), outcome(2, 0.9, 1.0)], space).name == "k=1"


def test_a_trial_that_was_stopped_is_never_the_best() -> None:
    assert best_of([outcome(1, 0.8), outcome(2, 0.9, state="stopped early")], GRID).name == "k=1"


@pytest.mark.parametrize("space", [GRID, DRAWN], ids=["grid", "drawn"])
def test_the_report_has_all_trials_the_best_first_and_a_plot_a_parameter(space: Space, tmp_path: Path) -> None:
    outcomes = [
        outcome(1, 0.8, learning_rate=1e-4), outcome(2, 0.9, learning_rate=3e-4),
        outcome(1, 0.95, state="stopped early", learning_rate=1e-5), FAILED,
    ]  # fmt: skip
    best = best_of(outcomes, space)
    scores = {each.key: table(each.auc or 0) for each in outcomes if each.state == "finished"}
    apart = separate(scores, best.key, following=outcomes[0].key, default=None)
    text = save_search_report(outcomes, best, space, apart, tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows[0].startswith("| 1 | 2 |") and "| 0.9000 |  | 1.0000 | 3 | 5 | finished |" in rows[0]
    assert "| 0.8000 | +0.1000 (-" in rows[2]
    assert rows[-1].endswith("| failed: =a \\| b |")
    assert "- The next trial, k=1: +0.1000 (-" in text
    assert (tmp_path / "trials.md").read_text() == text
    kept = pl.read_csv(tmp_path / "trials.csv")
    assert kept["state"].to_list() == ["finished", "stopped early", "finished", "failed"]
    assert kept["reason"].to_list()[-1] == "'=a | b", "spreadsheets compute what begins with ="
    assert kept["best_minus_this"].round(6).to_list() == [None, None, 0.1, None]
    assert kept["low"][2] < 0.1 < kept["high"][2]
    assert len(list((tmp_path / "plots").glob("*.png"))) == len(space.rows)
