"""Plots: a file for every figure that is defined, none that fails, and nothing of interest thinned away."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from anomalyclip.evaluation import plot_style, plots
from anomalyclip.evaluation.metrics import compute_metrics
from anomalyclip.evaluation.predictions import Digests, Predictions
from anomalyclip.events.detection import OperatingPoint
from tests.predicted import in_memory


def predictions(videos: list[tuple[int, str | None]]) -> Predictions:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum([frames for frames, _ in videos])]).astype(np.int64)
    labels = tuple(sorted({name for _, name in videos if name}))
    truth = np.zeros((int(offsets[-1]), len(labels)), dtype=np.bool_)
    for start, (frames, name) in zip(offsets, videos, strict=False):
        if name:
            truth[start + frames // 4 : start + frames // 2, labels.index(name)] = True
    return in_memory(
        video_ids=tuple(f"{name or 'Normal'}_{i}" for i, (_, name) in enumerate(videos)),
        offsets=offsets,
        scores=rng.random(len(truth), dtype=np.float32),
        probabilities=rng.random((len(truth), 3), dtype=np.float32),
        truth=truth,
        classes=("Arson", "Normal", "Robbery"),
        label_classes=labels,
        digests=Digests("m", "a", "x"),
    )


def test_every_figure_becomes_a_png(tmp_path: Path) -> None:
    table = predictions([(40, None), (5000, "Arson"), (1, None), (60, "Riot"), (50, "Arson"), (30, None)])
    paths = plots.save_plots(table, compute_metrics(table), tmp_path / "plots")
    names = ["class_auc.png", "precision_recall.png", "roc.png", "timelines.png"]
    assert [path.name for path in paths] == names
    for path in paths:
        image = imread(path)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.01, f"{path.name} is blank"


def test_events_have_a_curve_and_a_table_of_classes(tmp_path: Path) -> None:
    table = predictions([(40, None), (500, "Arson"), (60, "Riot"), (50, "Arson"), (30, None)])
    times = np.concatenate([np.arange(each) / 10 for each in np.diff(table.offsets)])
    table = replace(table, times=times, operating=OperatingPoint(detection=0.7, alert=0.9))
    paths = plots.save_plots(table, compute_metrics(table), tmp_path)
    added = {path.name: imread(path) for path in paths if path.name in ("froc.png", "event_classes.png")}
    assert len(added) == 2 and all(image[..., :3].std() > 0.01 for image in added.values())
    nothing = table.select([0, 4])  # no true event
    names = {path.name for path in plots.save_plots(nothing, compute_metrics(nothing), tmp_path)}
    assert not names & added.keys()


def test_one_video_becomes_a_png_of_its_own(tmp_path: Path) -> None:
    table = predictions([(40, None), (5000, "Arson")])
    plots.save_timeline(table, 1, tmp_path / "arson.png")
    plots.save_timeline(table, 0, tmp_path / "normal.png")
    arson, normal = imread(tmp_path / "arson.png"), imread(tmp_path / "normal.png")
    assert arson.shape == normal.shape
    pale_red = np.isclose(arson[..., :3], np.array([0xF6, 0xCF, 0xC7]) / 255, atol=0.01).all(axis=-1)
    assert pale_red.mean() > 0.05


def test_curves_are_left_out_where_there_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    table = predictions([(40, None), (30, None)])
    paths = plots.save_plots(table, compute_metrics(table), tmp_path)
    assert [path.name for path in paths] == ["class_auc.png", "timelines.png"]


def test_timelines_show_anomalous_videos_first_and_their_classes_in_turn() -> None:
    table = predictions([(40, None), (40, "Arson"), (40, "Arson"), (40, "Riot"), (40, None)])
    assert plots._most_interesting(table)[:3] == [1, 3, 2]
    assert sorted(plots._most_interesting(table)[3:]) == [0, 4]


def test_timelines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MOST_TIMELINES", 3)
    table = predictions([(20, None)] * 4 + [(20, "Arson")])
    assert len(plots._most_interesting(table)) == 3
    assert plots._most_interesting(table)[0] == 4


def test_a_long_curve_is_thinned_evenly_along_its_length_and_keeps_its_ends() -> None:
    # A step: nearly all points crowd into the corner, and all the length lies outside it.
    x = np.concatenate([np.linspace(0, 1e-6, 50_000), np.linspace(1e-6, 1, 3000)])
    y = np.concatenate([np.linspace(0, 1, 50_000), np.full(3000, 1.0)])
    thin_x, thin_y = plot_style.thinned(x, y)
    assert len(thin_x) <= 2000
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
    assert np.abs(np.diff(thin_x)).max() + np.abs(np.diff(thin_y)).max() < 0.005
    short_x, _ = plot_style.thinned(x[:10], y[:10])
    assert len(short_x) == 10


def test_true_intervals_are_found_with_their_ends() -> None:
    assert plot_style.runs(np.array([1, 1, 0, 1, 0, 0, 1], dtype=np.bool_)) == [(0, 2), (3, 4), (6, 7)]
