"""Logistic regression on video means: its arithmetic by hand, its classes, and its files."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anomalyclip.baselines.linear import LinearModel, fit_linear, load_linear, save_linear
from anomalyclip.errors import UsageError

CLASSES = ("Arson", "Fighting", "Normal", "Riot")


def by_hand() -> LinearModel:
    """w = (1, 2), b = 1 on features of mean (1, 0) and deviation (2, 1); Arson by the first number, Riot by none."""
    tensors = {
        "mean": [1.0, 0.0], "deviation": [2.0, 1.0], "weight": [1.0, 2.0], "bias": 1.0,
        "class_weight": [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], "class_bias": [0.0, math.log(2), -math.inf],
    }  # fmt: skip
    return LinearModel(CLASSES, {name: torch.tensor(value, dtype=torch.float64) for name, value in tensors.items()})


def videos(seed: int = 0, count: int = 40) -> tuple[np.ndarray, list[str]]:
    """Means of normal videos around 0, of Arson around (2, 0, 0), of Fighting around (0, 2, 0)."""
    labels = [("Normal", "Arson", "Normal", "Fighting")[number % 4] for number in range(count)]
    centres = {"Normal": (0, 0, 0), "Arson": (2, 0, 0), "Fighting": (0, 2, 0)}
    noise = np.random.default_rng(seed).normal(size=(count, 3))
    return np.array([centres[name] for name in labels]) + 0.3 * noise, labels


def test_a_frame_is_scored_as_computed_by_hand() -> None:
    # standardised: (1, 2) and (0, -0.5); logits 1 + 4 + 1 = 6 and -1 + 1 = 0; class logits (1, ln 2), and (0, ln 2)
    scores, probabilities = by_hand().score(torch.tensor([[3.0, 2.0], [1.0, -0.5]], dtype=torch.float16))
    first = 1 / (1 + math.exp(-6))
    torch.testing.assert_close(scores, torch.tensor([first, 0.5]))
    arson = [math.e / (math.e + 2), 1 / 3]
    expected = [
        [first * arson[0], first * (1 - arson[0]), 1 - first, 0.0],
        [0.5 * arson[1], 0.5 * (1 - arson[1]), 0.5, 0.0],
    ]
    torch.testing.assert_close(probabilities, torch.tensor(expected))


def test_of_two_mirrored_videos_the_weights_solve_the_penalised_likelihood() -> None:
    # standardised -1 and 1: w minimises w²/2 + 0.01 · 2 · ln(1 + e^-w), so w (1 + e^w) = 0.02
    model = fit_linear(np.array([[3.0], [7.0]]), ["Normal", "Arson"], ("Arson", "Normal"))
    weight = model.tensors["weight"].item()
    assert (model.tensors["mean"].item(), model.tensors["deviation"].item()) == (5.0, 2.0)
    assert weight * (1 + math.exp(weight)) == pytest.approx(0.02, abs=1e-6)
    assert model.tensors["bias"].item() == pytest.approx(0.0, abs=1e-6)
    assert model.score(torch.tensor([[9.0]]))[1].tolist()[0] == pytest.approx(
        [1 / (1 + math.exp(-2 * weight)), 1 / (1 + math.exp(2 * weight))]
    )


def test_it_finds_anomalies_and_names_them() -> None:
    model = fit_linear(*videos(), CLASSES)
    scores, probabilities = model.score(torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]))
    assert scores[0] < scores[1:].min()
    assert probabilities[1:, :2].argmax(dim=1).tolist() == [0, 1]
    torch.testing.assert_close(probabilities[:, 2], 1 - scores)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    assert not probabilities[:, 3].any()  # Riot has no training video


def test_the_same_videos_give_the_same_model() -> None:
    first, again, other = (fit_linear(*videos(seed), CLASSES) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest


def test_numbers_that_never_vary_and_a_single_class_do_no_harm() -> None:
    means, labels = videos()
    labels = ["Normal" if name == "Normal" else "Arson" for name in labels]
    model = fit_linear(np.column_stack([means, np.full(len(means), 7.0)]), labels, ("Arson", "Normal"))
    scores, probabilities = model.score(torch.tensor([[2.0, 0, 0, 7]]))
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(probabilities[:, 0], scores)


@pytest.mark.parametrize("label, says", [("Normal", "0 abnormal and 3 normal"), ("Arson", "3 abnormal and 0 normal")])
def test_videos_of_one_kind_are_refused(label: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"{says} training videos"):
        fit_linear(np.eye(3), [label] * 3, CLASSES)


def test_what_was_saved_scores_the_same(tmp_path: Path) -> None:
    model = fit_linear(*videos(), CLASSES)
    save_linear(tmp_path / "linear", model)
    loaded = load_linear(tmp_path / "linear")
    assert (loaded.classes, loaded.digest, loaded.dim) == (CLASSES, model.digest, 3)
    features = torch.randn(5, 3)
    for ours, theirs in zip(loaded.score(features), model.score(features), strict=True):
        assert torch.equal(ours, theirs)
    for damaged in ("linear.safetensors", "linear.json"):
        save_linear(tmp_path / "linear", model)
        (tmp_path / "linear" / damaged).write_bytes(b"{}")
        with pytest.raises(UsageError, match="holds no linear baseline"):
            load_linear(tmp_path / "linear")
    save_linear(tmp_path / "linear", model)
    save_file({"mean": model.tensors["mean"]}, tmp_path / "linear" / "linear.safetensors")
    with pytest.raises(UsageError, match="holds no linear baseline: 'deviation'"):
        load_linear(tmp_path / "linear")
