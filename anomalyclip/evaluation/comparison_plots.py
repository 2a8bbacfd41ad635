"""Comparison plots: differences with their intervals, ROC curves, and the videos that differ most."""

from pathlib import Path

from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from anomalyclip.evaluation.comparison import Comparison, Measured
from anomalyclip.evaluation.comparison_report import LETTERS, SideBySide, class_order
from anomalyclip.evaluation.figures import compared, summarised_by_class
from anomalyclip.evaluation.intervals import Difference
from anomalyclip.evaluation.metrics import frame_level
from anomalyclip.evaluation.plot_style import (
    BLUE,
    INK,
    MUTED,
    RED,
    cut,
    figure_of,
    single_figure,
    style,
    thinned,
    timeline,
    timeline_grid,
)
from anomalyclip.evaluation.text import value_text

MOST_TIMELINES = 8
_COLOURS = (MUTED, BLUE, RED, "#3c8d5a", "#b07d12", "#7a4fa3", "#1b8a94", "#a33b6f")


def save_comparison_plots(models: SideBySide, folder: Path) -> list[Path]:
    """Write the plots as PNG files into the folder and return their paths.

    Curves and timelines are left out if the truth has no anomalous or no normal frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"differences.png": _differences(models)}
    if models.measured[0].metrics.figures["auc"] is not None:
        figures["roc.png"] = _roc(models)
        for letter, measured, comparison in models.others():
            figures[f"videos-A-{letter}.png"] = _timelines(letter, models.measured[0], measured, comparison)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=130)
    return [folder / name for name in sorted(figures)]


def _differences(models: SideBySide) -> Figure:
    """Every difference to the reference with its interval, a row per figure and class.

    Figures with a unit would make all others look like none; the table has them.
    """
    figures = [figure for figure in compared() if not figure.unit]
    classes = [
        (kind, name)
        for kind in summarised_by_class()
        for name in class_order(*(comparison.of_class[kind.name] for comparison in models.differences))
    ]
    rows = [*(figure.heading for figure in figures), *(f"{kind.title} {name}" for kind, name in classes)]
    figure = figure_of(7.2, 1.6 + (0.3 + 0.08 * len(models.differences)) * len(rows))
    axes = figure.subplots()
    style(axes)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.axhline(len(figures) - 0.5, color=MUTED, linewidth=0.6)
    for number, (letter, _, comparison) in enumerate(models.others(), start=1):
        found = [comparison.figures[figure.name] for figure in figures]
        found += [comparison.of_class[kind.name].get(name) for kind, name in classes]
        lift = 0.6 * (number / (len(models.differences) + 1) - 0.5)
        for row, difference in enumerate(found):
            if difference is not None:
                low, high = _ends(difference)
                axes.plot([low, high], [row + lift] * 2, color=_colour(number), linewidth=2)
                axes.plot(difference.value, row + lift, "o", color=_colour(number), markersize=5)
        axes.plot([], [], "o-", color=_colour(number), label=f"{letter}: {cut(models.names[number], 60)}")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="difference to A, with its paired 95 % interval", ylim=(len(rows) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", fontsize=8, frameon=False)
    axes.set_title(f"Differences to A: {cut(models.names[0], 60)}", color=INK, fontsize=11)
    return figure


def _roc(models: SideBySide) -> Figure:
    figure, axes = single_figure(5.2, 5.6)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for number, (letter, measured) in enumerate(zip(LETTERS, models.measured, strict=False)):
        frames = frame_level(measured.predictions)
        fpr, tpr, _ = roc_curve(frames.anomalous, frames.scores)
        label = f"{letter}  AUC {value_text(measured.metrics.value('auc'))}"
        axes.plot(*thinned(fpr, tpr), color=_colour(number), linewidth=2, label=label)
    axes.set(xlabel="False positive rate", ylabel="True positive rate", aspect="equal")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.set_title("Frame-level ROC", color=INK, fontsize=11)
    return figure


def _timelines(letter: str, reference: Measured, measured: Measured, comparison: Comparison) -> Figure:
    """Both models' scores over time on the videos that contribute most to their difference."""
    shown = comparison.videos[:MOST_TIMELINES]
    figure, grid = timeline_grid(len(shown))
    for axes, video in zip(grid, shown, strict=True):
        for name, each, colour in (("A", reference, MUTED), (letter, measured, BLUE)):
            table = each.predictions
            timeline(axes, table, table.video_ids.index(video.video_id), colour, name)
        text = axes.text(0.98, 0.94, f"{video.contribution:+.4f}", transform=axes.transAxes, ha="right", va="top")
        text.set(color=INK, fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85})
    grid[0].legend(loc="upper left", fontsize=7, frameon=False)
    title = f"Videos on which A and {letter} differ most, with their contribution to ΔAUC, true anomalies shaded"
    figure.suptitle(title, color=INK)
    return figure


def _ends(difference: Difference) -> tuple[float, float]:
    interval = difference.interval
    return (interval.low, interval.high) if interval else (difference.value, difference.value)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
