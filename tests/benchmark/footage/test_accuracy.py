"""The method works: on cameras never seen it is better than the CLIP it starts from, and only while it is whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from torch import nn

from anomalyclip.benchmark.footage.videos import FULL, Size, anomalous
from anomalyclip.config import RunConfig
from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.comparison import compare
from anomalyclip.evaluation.figures import headlines
from anomalyclip.evaluation.metrics import Metrics, compute_metrics
from anomalyclip.model import losses
from anomalyclip.presets import preset

SMALL = {"train": Size(28, 4), "val": Size(7, 1), "test": Size(10, 2)}
FLOOR_AUC, FLOOR_MAUC = 0.80, 0.89
SEEDS = (1024, 1025, 1026)
CONFIG = preset("benchmark")


@pytest.fixture(scope="module")
def small(lab: Any) -> Any:
    return lab.draw(SMALL)


@pytest.fixture(scope="module")
def full(lab: Any) -> Any:
    return lab.draw(FULL)


def with_seed(seed: int) -> RunConfig:
    return CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"seed": seed})})


def say(name: str, metrics: Metrics) -> None:
    print(f"{name}: {', '.join(f'{figure.title} {metrics.text(figure)}' for figure in headlines())}")
    print("  ", " ".join(f"{label} {found.value:.3f}" for label, found in metrics.of_class["auc"].items() if found))


def test_a_small_training_tells_when_and_what_on_cameras_never_seen(lab: Any, small: Any) -> None:
    metrics = compute_metrics(lab.train(small, CONFIG))
    say("method", metrics)
    assert metrics.value("auc") > FLOOR_AUC and metrics.value("m_auc") > FLOOR_MAUC


def _negated(terms: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
    return lambda *arguments: {name: -term for name, term in terms(*arguments).items()}


BREAKS = {
    "loss sign": lambda patch: patch.setattr(losses, "loss_terms", _negated(losses.loss_terms)),
    "re-centring": lambda patch: None,
    "selection": lambda patch: patch.setattr(losses, "semantic_selection", _upside_down(losses.semantic_selection)),
}


def _upside_down(select: Callable[..., object]) -> Callable[..., object]:
    """The segments that look least like the anomaly are taken for it."""
    return lambda ranking, *rest: select(-ranking, *rest)


@pytest.mark.accept
@pytest.mark.parametrize("broken", BREAKS)
def test_the_floors_fail_when_the_method_is_broken(
    lab: Any, small: Any, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BREAKS[broken](monkeypatch)
    model = CONFIG.model.model_copy(update={"likelihood": "cosine"} if broken == "re-centring" else {})
    metrics = compute_metrics(lab.train(small, CONFIG.model_copy(update={"model": model})))
    say(broken, metrics)
    assert metrics.value("auc") < FLOOR_AUC or metrics.value("m_auc") < FLOOR_MAUC


@pytest.mark.accept
def test_the_benchmark_separates_ceiling_method_and_zero_shot(lab: Any, full: Any) -> None:
    floor = lab.zero_shot(full)
    zero = compute_metrics(floor)
    say("zero-shot", zero)
    top = [compute_metrics(lab.predictions(full, "test", _ceiling(full, seed))) for seed in SEEDS]
    for seed, metrics in zip(SEEDS, top, strict=True):
        say(f"ceiling {seed}", metrics)
    methods = [lab.train(full, with_seed(seed)) for seed in SEEDS]
    for seed, predictions in zip(SEEDS, methods, strict=True):
        metrics = compute_metrics(predictions)
        found = compare(predictions, floor).figures
        say(f"method {seed}", metrics)
        print(found)
        assert found["auc"].interval.low > 0 and found["m_auc"].interval.low > 0
    assert 0.60 <= zero.value("auc") <= 0.78
    for name, least in (("auc", 0.93), ("m_auc", 0.95)):
        ceiling = float(np.mean([one.value(name) for one in top]))
        method = float(np.mean([compute_metrics(one).value(name) for one in methods]))
        assert ceiling >= least
        assert method - zero.value(name) >= 0.5 * (ceiling - zero.value(name))


def _ceiling(footage: Any, seed: int, epochs: int = 10) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Probabilities of the test frames by a small network that learns from the labels of all training frames."""
    classes = footage.classes
    inputs = {clip.video_id: torch.from_numpy(_with_motion(footage.features[clip.video_id])) for clip in footage.clips}
    train = footage.split("train")
    everything = torch.cat([inputs[clip.video_id] for clip in train])
    mean, std = everything.mean(dim=0), everything.std(dim=0)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(len(mean), 64), nn.ReLU(), nn.Dropout(0.6), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.6),
        nn.Linear(64, len(classes)),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs)
    for _ in range(epochs):
        for index in torch.randperm(len(train)):
            clip = train[int(index)]
            truth = np.where(anomalous(clip), classes.index(clip.label), classes.index(NORMAL))
            rows = (inputs[clip.video_id] - mean) / std
            logits = _smooth(network(rows + 0.3 * torch.randn_like(rows)))
            loss = F.cross_entropy(logits, torch.from_numpy(truth), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    network.eval()
    scores = []
    for clip in footage.split("test"):
        with torch.inference_mode():
            chances = _smooth(network((inputs[clip.video_id] - mean) / std)).softmax(dim=1).numpy()
        scores.append((1 - chances[:, classes.index(NORMAL)], chances))
    return scores


def _with_motion(features: NDArray[np.float16]) -> NDArray[np.float32]:
    """A frame's feature, how it differs from its video over 9 frames, and how much it changes over 13."""
    values = features.astype(np.float32)
    change = np.abs(np.diff(values, axis=0, prepend=values[:1]))
    offset = uniform_filter1d(values - values.mean(axis=0), 9, axis=0)
    return np.concatenate([values, offset, uniform_filter1d(change, 13, axis=0)], axis=1)


def _smooth(logits: torch.Tensor) -> torch.Tensor:
    return F.avg_pool1d(logits.T[None], 13, 1, 6, count_include_pad=False)[0].T
