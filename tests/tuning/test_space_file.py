from pathlib import Path

import pytest

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.tuning.space import Between, OneOf
from anomalyclip.tuning.space_file import find_space, read_space
from anomalyclip.tuning.spaces import SPACES


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_table_of_lists_is_a_grid_of_all_combinations(tmp_path: Path) -> None:
    space = find_space(SPACES, str(written(tmp_path, "model.k: [1, 3]\nmodel.temporal: [axial, mlp]\n")))
    space.check(RunConfig())
    assert (space.trials, len(space.points())) == (None, 4)
    assert {"model.k": 3, "model.temporal": "mlp"} in space.points()


def test_a_table_with_ranges_and_a_number_is_drawn(tmp_path: Path) -> None:
    text = (
        "trials: 24\nmodel.k: [1, 3, 5]\ntraining.learning_rate: {low: 3e-5, high: 3.0e-3, log: true}\n"
        "model.top_dropout+model.bottom_dropout: {low: 0, high: 0.9}\nloss.smooth: [8e-4, 8e-3]\n"
    )
    space = read_space(written(tmp_path, text))
    space.check(RunConfig())
    assert space.trials == 24
    assert dict(space.rows) == {
        "model.k": OneOf((1, 3, 5)),
        "training.learning_rate": Between(3e-5, 3e-3, log=True),
        "model.top_dropout + model.bottom_dropout": Between(0.0, 0.9),
        "loss.smooth": OneOf((8e-4, 8e-3)),
    }


def test_a_name_of_a_space_comes_before_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid").write_text("model.k: [2]")
    Path("others").write_text("model.k: [2]")
    assert find_space(SPACES, "grid") is SPACES["grid"]
    assert list(find_space(SPACES, "others").rows) == ["model.k"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("model.k: [1, 3", "is not readable YAML"),
        ("model.k: !!python/object/apply:os.system [ls]", "is not readable YAML"),
        ("", "expected one row per setting"),
        ("- model.k", "expected one row per setting"),
        ("trials: 4", "expected one row per setting"),
        ("trials: 0\nmodel.k: [1]", "trials: 0 must be a whole number above 0"),
        ("trials: many\nmodel.k: [1]", "trials: many must be a whole number above 0"),
        ("model.k: 3", "model.k: expected a list of values"),
        ("model.k: []", "model.k: expected a list of values"),
        ("model.k: [[1, 2]]", "model.k: the values of a list must be single"),
        ("model.k: [1, 2, 1]", "model.k: a value occurs more than once"),
        ("loss.sparse: {low: 1}", r"loss.sparse: a range needs the numbers low and high \(got 1 and None\)"),
        ("loss.sparse: {low: a, high: 2}", "loss.sparse: a range needs the numbers low and high"),
        ("loss.sparse: {low: 2, high: 1}", "low=2 must be below high=1"),
        ("loss.sparse: {low: 0, high: .inf}", "both finite"),
        ("loss.sparse: {low: 0, high: 1, log: true}", "low=0 must be above 0 if log is true"),
        ("loss.sparse: {low: 0.1, high: 1, log: 1}", "log is true or false"),
        ("loss.sparse: {lo: 1, high: 2}", "a range has no lo; did you mean low?"),
        ("model.kk: [1]", r"unknown setting model.kk; did you mean model.k\?"),
        (
            "trainig.learning_rate: [1.0e-4]",
            r"unknown setting trainig.learning_rate; did you mean training.learning_rat",
        ),
        ("k: [1]", r"unknown setting k; did you mean model.k\?"),
        ("training.seed: [1, 2]", "training.seed decides what trials are compared on"),
        ("model.k: [1, 33]", "k=33 exceeds the 32 segments"),
        ("loss.sparse: {low: 0.1, high: 1}", "a grid takes lists of values, and loss.sparse has a range"),
        ("trials: 4\nmodel.k: [1, 2]", "drawn trials need at least one row with a range"),
        ("trials: 4\nmodel.k: {low: 1, high: 5}", "model.k: Input should be a valid integer"),
        ("model.k: [1]\nmodel.k + model.depth: [1, 2]", "model.k has more than one row"),
    ],
)
def test_a_wrong_table_gives_one_line_that_names_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=message) as refused:
        read_space(path).check(RunConfig())
    assert str(refused.value).startswith(f"space file {path}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("asked", ["nowhere.yaml", "folder/nowhere"])
def test_a_file_that_is_not_there(asked: str) -> None:
    with pytest.raises(UsageError, match=f"space file {asked} does not exist"):
        find_space(SPACES, asked)


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown space gird; give one of grid, wide, or a YAML file"):
        find_space(SPACES, "gird")
