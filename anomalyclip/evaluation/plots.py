"""Plots of a predictions table: ROC, precision and recall, AUC by class and score timelines."""

from collections import defaultdict
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.intervals import Interval
from anomalyclip.evaluation.metrics import Metrics, video_score
from anomalyclip.evaluation.predictions import BoolArray, Predictions

MOST_POINTS = 2000
MOST_TIMELINES = 20

_INK, _MUTED, _GRID = "#1f2933", "#6b7785", "#e3e7ec"
_BLUE, _RED, _PALE_RED = "#2563a8", "#c2412d", "#f6cfc7"


def save_plots(predictions: Predictions, metrics: Metrics, folder: Path) -> list[Path]:
    """Write the plots as PNG files into the folder and return their paths.

    `roc.png` and `precision_recall.png` are left out where the truth has no anomalous or no normal frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"class_auc.png": _class_bars(metrics), "timelines.png": _timelines(predictions)}
    if metrics.auc is not None:
        figures["roc.png"] = _roc(predictions, metrics)
        figures["precision_recall.png"] = _precision_recall(predictions, metrics)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=130)
    return [folder / name for name in sorted(figures)]


def save_timeline(predictions: Predictions, video: int, path: Path) -> None:
    """Write the scores of the video at this position over time, its true intervals shaded, as a PNG file."""
    figure, axes = _single_figure(7.2, 2.6)
    _timeline(axes, predictions, video)
    axes.set(xlabel="frame", ylabel="anomaly score")
    figure.savefig(path, dpi=130)


def _roc(predictions: Predictions, metrics: Metrics) -> Figure:
    fpr, tpr, thresholds = roc_curve(predictions.anomalous, predictions.scores)
    figure, axes = _single_figure(5.2, 5.2)
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.plot(*_thinned(fpr, tpr), color=_BLUE, linewidth=2)
    best = 1 + int(np.argmax((tpr - fpr)[1:]))
    axes.plot(fpr[best], tpr[best], "o", color=_RED, markersize=7, markeredgecolor="white")
    axes.annotate(
        f"Youden's threshold {thresholds[best]:.3g}",
        (fpr[best], tpr[best]),
        xytext=(10 if fpr[best] < 0.5 else -10, -14),
        textcoords="offset points",
        ha="left" if fpr[best] < 0.5 else "right",
        color=_RED,
        fontsize=9,
    )
    axes.set(xlabel="False positive rate", ylabel="True positive rate", aspect="equal")
    axes.set_title(f"Frame-level ROC\nAUC {_figure(metrics.auc, metrics.auc_interval)}", color=_INK, fontsize=11)
    return figure


def _precision_recall(predictions: Predictions, metrics: Metrics) -> Figure:
    precision, recall, _ = precision_recall_curve(predictions.anomalous, predictions.scores)
    figure, axes = _single_figure(5.2, 5.2)
    chance = float(predictions.anomalous.mean())
    axes.axhline(chance, color=_MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.text(0.01, chance + 0.012, f"chance {chance:.3f}", color=_MUTED, fontsize=9)
    axes.plot(*_thinned(recall, precision), color=_BLUE, linewidth=2)
    axes.set(xlabel="Recall", ylabel="Precision", aspect="equal")
    axes.set_title(f"Frame-level precision and recall\nAP {_figure(metrics.ap)}", color=_INK, fontsize=11)
    return figure


def _class_bars(metrics: Metrics) -> Figure:
    """AUC of every class, best first, with mAUC (red) and chance; null ones below, saying why."""
    defined = {name: auc for name, auc in metrics.class_auc.items() if auc is not None}
    ranked = sorted(defined, key=lambda name: -defined[name])
    null = [name for name in metrics.class_auc if name not in defined]
    names = ranked + null
    figure, axes = _single_figure(6.8, 1.5 + 0.32 * len(names))
    colours = [_MUTED if name == NORMAL else _BLUE for name in ranked]
    axes.barh(range(len(ranked)), [defined[name] for name in ranked], height=0.68, color=colours)
    for row, name in enumerate(ranked):
        value = axes.text(defined[name] + 0.01, row, f"{defined[name]:.3f}", va="center", color=_INK, fontsize=9)
        value.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85})
    for row, name in enumerate(null, start=len(ranked)):
        unknown, absent = name in metrics.unknown_classes, name in metrics.absent_classes
        reason = "unknown to the model" if unknown else "not in the test set" if absent else "undefined"
        axes.text(0.008, row, reason, va="center", color=_MUTED, fontsize=9, style="italic")
    if metrics.m_auc is not None:
        axes.axvline(metrics.m_auc, color=_RED, linewidth=1.2)
    if metrics.m_auc_interval is not None:
        axes.axvspan(metrics.m_auc_interval.low, metrics.m_auc_interval.high, color=_PALE_RED, zorder=0)
    axes.axvline(0.5, color=_MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="AUC, one class against the rest", xlim=(0, 1.08), ylim=(len(names) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    title = f"AUC by class\nmAUC {_figure(metrics.m_auc, metrics.m_auc_interval)}"
    axes.set_title(title, color=_INK, fontsize=11)
    return figure


def _timelines(predictions: Predictions) -> Figure:
    """Scores over time with the true intervals shaded: anomalous videos first, the classes in turn."""
    shown = _most_interesting(predictions)
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = _figure_of(3.6 * columns + 0.4, 1.75 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, video in zip(grid.flat, shown, strict=False):
        _style(axes)
        _timeline(axes, predictions, video)
    figure.supxlabel("frame", color=_MUTED, fontsize=9)
    figure.supylabel("anomaly score", color=_MUTED, fontsize=9)
    total = len(predictions.video_ids)
    figure.suptitle(f"Scores over time, true anomalies shaded ({len(shown)} of {total} videos)", color=_INK)
    return figure


def _timeline(axes: Axes, predictions: Predictions, video: int) -> None:
    frames = predictions.frames_of(video)
    scores = predictions.scores[frames]
    for start, end in _runs(predictions.anomalous[frames]):
        axes.axvspan(start, end, color=_PALE_RED, linewidth=0, zorder=0)
    width = -(-len(scores) // MOST_POINTS)
    starts = np.arange(0, len(scores), width)
    # The highest score of each stretch: a short peak in a long video must stay visible.
    axes.plot(starts, np.maximum.reduceat(scores, starts), color=_BLUE, linewidth=1.2)
    axes.set(xlim=(0, max(1, len(scores) - 1)), ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    name = predictions.video_ids[video]
    label = ", ".join(_labels(predictions, video)) or NORMAL
    axes.set_title(f"{_cut(name, 26)}  ·  {_cut(label, 22)}", color=_INK, fontsize=8, loc="left")


def _most_interesting(predictions: Predictions) -> list[int]:
    """Up to MOST_TIMELINES videos: the classes' anomalous ones in turn, then the highest-scored normal ones."""
    by_class: dict[str, list[int]] = defaultdict(list)
    normal: list[int] = []
    for video in range(len(predictions.video_ids)):
        labels = _labels(predictions, video)
        (by_class[labels[0]] if labels else normal).append(video)
    in_turn = [v for turn in zip_longest(*by_class.values()) for v in turn if v is not None]
    normal.sort(key=lambda video: -video_score(predictions.scores[predictions.frames_of(video)]))
    return (in_turn + normal)[:MOST_TIMELINES]


def _labels(predictions: Predictions, video: int) -> list[str]:
    occurs = np.flatnonzero(predictions.truth[predictions.frames_of(video)].any(axis=0))
    return [predictions.label_classes[column] for column in occurs]


def _runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of true values."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """At most MOST_POINTS of a curve's points, evenly along its length, both ends among them."""
    if len(x) <= MOST_POINTS:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0.0, length[-1], MOST_POINTS)
    kept = np.unique(np.searchsorted(length, wanted).clip(max=len(x) - 1))
    return x[kept], y[kept]


def _single_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _figure_of(width, height)
    axes = figure.subplots()
    _style(axes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def _figure_of(width: float, height: float) -> Figure:
    """A figure (inches) that draws without pyplot's global state, so that any thread may make one."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MUTED)
    axes.tick_params(colors=_INK, labelsize=8, width=0.6)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _figure(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "undefined"
    band = f" (95 % interval {interval.low:.3f} to {interval.high:.3f})" if interval else ""
    return f"{value:.3f}{band}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
