import subprocess
import sys
from pathlib import Path

import pytest

from anomalyclip.config import ModelConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.presets import PRESETS
from anomalyclip.settings import build_config
from anomalyclip.tuning.space import Space, between, describe, log_between, one_of, with_point
from anomalyclip.tuning.spaces import SPACES

ROOT = Path(__file__).parent.parent


def test_the_grid_has_at_least_twelve_trials_over_k_context_and_depth() -> None:
    points = SPACES["grid"].points()
    assert len(points) >= 12
    assert set(SPACES["grid"].rows) == {"model.k", "model.context_length", "model.depth"}
    assert {"model.k": 3, "model.context_length": 8, "model.depth": 1} in points  # the default is one of them


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_spaces_fit_all_presets(space: Space, preset: RunConfig) -> None:
    space.check(preset)


def test_a_grid_has_every_combination_once() -> None:
    points = Space({"model.k": one_of(1, 2), "model.depth": one_of(1, 2, 3)}).points()
    assert len({tuple(point.items()) for point in points}) == len(points) == 6


def test_settings_of_a_row_take_the_same_value() -> None:
    model = with_point(RunConfig(), {"model.top_dropout + model.bottom_dropout": 0.25}).model
    assert (model.top_dropout, model.bottom_dropout) == (0.25, 0.25)


def test_a_trial_is_called_by_its_values() -> None:
    point = {"model.k": 3, "training.learning_rate": 0.000123456, "model.top_dropout + model.bottom_dropout": 0.5}
    assert describe(point) == "k=3 learning_rate=0.000123456 top_dropout + bottom_dropout=0.5"


@pytest.mark.parametrize(
    "space, message",
    [
        (Space({"model.kk": one_of(1)}), r"unknown setting model.kk; did you mean model.k\?"),
        (Space({"model.k": one_of(1, 33)}), "k=33 exceeds the 32 segments"),
        (Space({"model.heads": one_of(8), "model.embedding_dim": one_of(12)}), "heads=8 must divide embedding_dim=12"),
        (Space({"training.seed": one_of(1, 2)}), "training.seed decides what trials are compared on"),
        (Space({"extraction.crops": one_of(1, 5)}), "extraction.crops decides what"),
        (Space({"training.learning_rate": log_between(1e-5, 1e-3)}), "training.learning_rate has a range"),
        (Space({"model.k": one_of(1, 2)}, trials=4), "need at least one row with a range"),
        (Space({"model.top_dropout": between(0, 1)}, trials=4), "less than 1"),
        (Space({"model.k": between(1, 5)}, trials=4), "valid integer"),  # both ends are whole, what is drawn is not
    ],
)
def test_a_wrong_space_is_refused(space: Space, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        space.check(RunConfig())


def test_words_for_the_context_leave_no_length_to_search() -> None:
    config = RunConfig(model=ModelConfig(context_text="a video of"))
    with pytest.raises(UsageError, match="fixes the length of the context"):
        SPACES["grid"].check(config)


def test_help_loads_no_heavy_library_and_shows_at_most_eleven_options() -> None:
    code = (
        "import sys; from anomalyclip.tuning.search import main\n"
        "try: main(['--help'])\n"
        "finally: print([name for name in ('torch', 'ray', 'mlflow', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len([line for line in done.stdout.splitlines() if line.startswith("  --")]) <= 11
    assert "python tuning/search.py" in done.stdout


def test_a_search_judges_every_epoch() -> None:
    config = build_config(RunConfig(), None, ["training.validate_every=2"])
    with pytest.raises(UsageError, match="a search judges every epoch"):
        Space({"model.k": one_of(1, 2)}).check(config)
