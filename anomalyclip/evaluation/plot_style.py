"""Plot style: colours, figures without pyplot's global state, and scores over time."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.predictions import BoolArray, Predictions

MOST_POINTS = 2000

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e3e7ec"
BLUE, RED, PALE_RED = "#2563a8", "#c2412d", "#f6cfc7"


def single_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure (inches) with one pair of axes from 0 to 1."""
    figure = figure_of(width, height)
    axes = figure.subplots()
    style(axes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def figure_of(width: float, height: float) -> Figure:
    """Return a figure (inches) that draws without pyplot's global state, so that any thread may make one."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def timeline_grid(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for the scores of so many videos over time."""
    columns = min(4, count)
    rows = -(-count // columns)
    figure = figure_of(3.6 * columns + 0.4, 1.75 * rows + 0.8)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[:count]:
        style(axes)
    for axes in grid[count:]:
        axes.set_axis_off()
    figure.supxlabel("frame", color=MUTED, fontsize=9)
    figure.supylabel("anomaly score", color=MUTED, fontsize=9)
    return figure, grid[:count]


def style(axes: Axes) -> None:
    """Give axes thin lines and a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8, width=0.6)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def timeline(axes: Axes, predictions: Predictions, video: int, colour: str = BLUE, label: str = "") -> None:
    """Draw the scores of the video at this position over time, its true intervals shaded, if they are known."""
    frames = predictions.frames_of(video)
    scores = predictions.scores[frames]
    for start, end in runs(predictions.anomalous[frames]):
        axes.axvspan(start, end, color=PALE_RED, linewidth=0, zorder=0)
    width = -(-len(scores) // MOST_POINTS)
    starts = np.arange(0, len(scores), width)
    # The highest score of each stretch: a short peak in a long video must stay visible.
    axes.plot(starts, np.maximum.reduceat(scores, starts), color=colour, linewidth=1.2, label=label)
    axes.set(xlim=(0, max(1, len(scores) - 1)), ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    labels = ", ".join(predictions.labels_of(video)) or NORMAL
    if not predictions.known[video]:
        labels += ", no intervals"
    title = f"{cut(predictions.video_ids[video], 26)}  ·  {cut(labels, 22)}"
    axes.set_title(title, color=INK, fontsize=8, loc="left")


def runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of every run of true values."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return at most MOST_POINTS of a curve's points, evenly along its length, both ends among them."""
    if len(x) <= MOST_POINTS:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0.0, length[-1], MOST_POINTS)
    kept = np.unique(np.searchsorted(length, wanted).clip(max=len(x) - 1))
    return x[kept], y[kept]


def cut(text: str, most: int) -> str:
    """Return a text cut to so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
