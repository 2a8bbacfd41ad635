"""Plots of a predictions table: ROC, precision and recall, AUC by class, events and score timelines."""

from collections import defaultdict
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.event_plots import confusion_plot, froc_plot
from anomalyclip.evaluation.figures import FIGURES
from anomalyclip.evaluation.metrics import Metrics, frame_level, video_score
from anomalyclip.evaluation.plot_style import (
    BLUE,
    INK,
    MUTED,
    PALE_RED,
    RED,
    single_figure,
    thinned,
    timeline,
    timeline_grid,
)
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.text import UNDEFINED

MOST_TIMELINES = 20


def save_plots(predictions: Predictions, metrics: Metrics, folder: Path) -> list[Path]:
    """Write the plots as PNG files into the folder and return their paths.

    `roc.png` and `precision_recall.png` are left out if the truth has no anomalous or no normal frame, `froc.png` and
    `event_classes.png` if there are no events or no true ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"class_auc.png": _class_bars(metrics), "timelines.png": _timelines(predictions)}
    if metrics.figures["auc"] is not None:
        frames = frame_level(predictions)
        figures["roc.png"] = _roc(frames, metrics)
        figures["precision_recall.png"] = _precision_recall(frames, metrics)
    if metrics.events and metrics.froc and metrics.froc.true.any():
        figures["froc.png"] = froc_plot(metrics.froc, metrics.events)
        figures["event_classes.png"] = confusion_plot(metrics.events)
    for name, figure in figures.items():
        _save(figure, folder / name)
    return [folder / name for name in sorted(figures)]


def save_timeline(predictions: Predictions, video: int, path: Path) -> None:
    """Write the scores of the video at this position over time, its true intervals shaded, as a PNG file."""
    figure, axes = single_figure(7.2, 2.6)
    timeline(axes, predictions, video)
    axes.set(xlabel="frame", ylabel="anomaly score")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.set_dpi(130)
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)  # here once: as part of the drawing it would draw the figure twice
        figure.set_layout_engine("none")
    figure.savefig(path, dpi=130)


def _roc(predictions: Predictions, metrics: Metrics) -> Figure:
    fpr, tpr, thresholds = roc_curve(predictions.anomalous, predictions.scores)
    figure, axes = single_figure(5.2, 5.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.plot(*thinned(fpr, tpr), color=BLUE, linewidth=2)
    best = 1 + int(np.argmax((tpr - fpr)[1:]))
    axes.plot(fpr[best], tpr[best], "o", color=RED, markersize=7, markeredgecolor="white")
    axes.annotate(
        f"Youden's threshold {thresholds[best]:.3g}",
        (fpr[best], tpr[best]),
        xytext=(10 if fpr[best] < 0.5 else -10, -14),
        textcoords="offset points",
        ha="left" if fpr[best] < 0.5 else "right",
        color=RED,
        fontsize=9,
    )
    axes.set(xlabel="False positive rate", ylabel="True positive rate", aspect="equal")
    axes.set_title(f"Frame-level ROC\n{_titled(metrics, 'auc')}", color=INK, fontsize=11)
    return figure


def _precision_recall(predictions: Predictions, metrics: Metrics) -> Figure:
    precision, recall, _ = precision_recall_curve(predictions.anomalous, predictions.scores)
    figure, axes = single_figure(5.2, 5.2)
    chance = float(predictions.anomalous.mean())
    axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.text(0.01, chance + 0.012, f"chance {chance:.3f}", color=MUTED, fontsize=9)
    axes.plot(*thinned(recall, precision), color=BLUE, linewidth=2)
    axes.set(xlabel="Recall", ylabel="Precision", aspect="equal")
    axes.set_title(f"Frame-level precision and recall\n{_titled(metrics, 'ap')}", color=INK, fontsize=11)
    return figure


def _class_bars(metrics: Metrics) -> Figure:
    """AUC of every class, best first, with mAUC (red) and chance; undefined ones below, with the reason."""
    of_class = metrics.of_class["auc"]
    defined = {name: estimate.value for name, estimate in of_class.items() if estimate is not None}
    ranked = sorted(defined, key=lambda name: -defined[name])
    null = [name for name in of_class if name not in defined]
    names = ranked + null
    figure, axes = single_figure(6.8, 1.5 + 0.32 * len(names))
    colours = [MUTED if name == NORMAL else BLUE for name in ranked]
    axes.barh(range(len(ranked)), [defined[name] for name in ranked], height=0.68, color=colours)
    for row, name in enumerate(ranked):
        value = axes.text(defined[name] + 0.01, row, f"{defined[name]:.3f}", va="center", color=INK, fontsize=9)
        value.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85})
    for row, name in enumerate(null, start=len(ranked)):
        axes.text(0.008, row, _why_undefined(metrics, name), va="center", color=MUTED, fontsize=9, style="italic")
    if (mean := metrics.value("m_auc")) is not None:
        axes.axvline(mean, color=RED, linewidth=1.2)
    if (interval := metrics.interval("m_auc")) is not None:
        axes.axvspan(interval.low, interval.high, color=PALE_RED, zorder=0)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="AUC, one class against the rest", xlim=(0, 1.08), ylim=(len(names) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    axes.set_title(f"AUC by class\n{_titled(metrics, 'm_auc')}", color=INK, fontsize=11)
    return figure


def _titled(metrics: Metrics, name: str) -> str:
    """A figure with its title, for a plot's heading."""
    band = ", 95 % interval in brackets" if metrics.interval(name) else ""
    return f"{FIGURES[name].title} {metrics.text(FIGURES[name])}{band}"


def _why_undefined(metrics: Metrics, name: str) -> str:
    for classes, why in (
        (metrics.unknown_classes, "unknown to the model"),
        (metrics.absent_classes, "not in the test videos"),
        (metrics.unlocated_classes, "no frame intervals"),
    ):
        if name in classes:
            return why
    return UNDEFINED


def _timelines(predictions: Predictions) -> Figure:
    """Scores over time with the true intervals shaded: anomalous videos first, the classes in turn."""
    shown = _most_interesting(predictions)
    figure, grid = timeline_grid(len(shown))
    for axes, video in zip(grid, shown, strict=True):
        timeline(axes, predictions, video)
    total = len(predictions.video_ids)
    figure.suptitle(f"Scores over time, true anomalies shaded ({len(shown)} of {total} videos)", color=INK)
    return figure


def _most_interesting(predictions: Predictions) -> list[int]:
    """Up to MOST_TIMELINES videos: the classes' anomalous ones in turn, then the highest-scored normal ones."""
    by_class: dict[str, list[int]] = defaultdict(list)
    normal: list[int] = []
    for video in range(len(predictions.video_ids)):
        labels = predictions.labels_of(video)
        (by_class[labels[0]] if labels else normal).append(video)
    in_turn = [v for turn in zip_longest(*by_class.values()) for v in turn if v is not None]
    scores = {video: predictions.scores[predictions.frames_of(video)] for video in normal}
    normal.sort(key=lambda video: -video_score(scores[video], predictions.segment_length(video)))
    return (in_turn + normal)[:MOST_TIMELINES]
