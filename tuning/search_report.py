"""Report of a search: the table of its trials, how far validation separates them, and one plot per parameter."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from anomalyclip.evaluation.plot_style import BLUE, INK, MUTED, RED, figure_of, style
from anomalyclip.evaluation.tables import markdown, write_spreadsheet
from anomalyclip.evaluation.text import difference_text, interval_values
from anomalyclip.tuning.separation import DIGITS, Compared, Separation
from anomalyclip.tuning.space import Between, Space, short
from anomalyclip.tuning.trials import Outcome

_MARKS = {"finished": ("o", BLUE), "stopped early": ("x", MUTED)}


def best_of(outcomes: Sequence[Outcome], space: Space) -> Outcome:
    """Return the finished trial of the highest AUC, then of the lowest loss if losses compare, then the first.

    Losses of trials with other weights of the loss or another K do not compare.
    """
    comparable = not any("loss." in name or "model.k" in name for name in space.rows)
    finished = [outcome for outcome in outcomes if outcome.state == "finished"]
    return min(finished, key=lambda each: (-(each.auc or 0), each.figures["best_loss"] if comparable else 0))


def save_search_report(
    outcomes: Sequence[Outcome], best: Outcome, space: Space, apart: Separation, folder: Path
) -> str:
    """Write `trials.csv`, `trials.md` and one plot per parameter into the folder; returns the Markdown text."""
    ranked = sorted(outcomes, key=lambda each: (each is not best, -(each.auc or 0)))
    write_spreadsheet(_table(ranked, space, apart), folder / "trials.csv")
    names = {each.key: each.name for each in outcomes}
    sentences = "".join(f"- {line}\n" for line in apart.sentences(names))
    text = f"{_markdown(ranked, space, apart)}\n\n{sentences}"
    (folder / "trials.md").write_text(text)
    (folder / "plots").mkdir(exist_ok=True)
    for name in space.rows:
        figure = _plot(name, outcomes, best, space)
        figure.savefig(folder / "plots" / f"{re.sub('[^a-z_]+', '-', name)}.png", dpi=130)
    return text


def _table(ranked: Sequence[Outcome], space: Space, apart: Separation) -> pl.DataFrame:
    """Return one row per trial, the best first, with all that is known of it."""
    rows = [
        {
            "trial": each.name,
            **{name: each.point[name] for name in space.rows},
            "state": each.state,
            "epochs": each.epochs,
            **{name: each.figures.get(name) for name in ("best_epoch", "best_video_auc", "best_loss")},
            **_best_minus(apart.others.get(each.key)),
            "reason": each.reason,
        }
        for each in ranked
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _best_minus(compared: Compared | None) -> dict[str, float | None]:
    interval = interval_values(compared.auc.interval if compared else None)
    return {"best_minus_this": compared.auc.value if compared else None, **interval}


def _markdown(ranked: Sequence[Outcome], space: Space, apart: Separation) -> str:
    parameters = ["", *map(short, space.rows)]
    rows = [[*parameters, "validation AUC", "best minus this", "loss", "best epoch", "epochs", "state"]]
    for place, each in enumerate(ranked, start=1):
        figures = ["-"] * 4
        if each.figures:
            compared = apart.others.get(each.key)
            signed = difference_text(compared.auc, DIGITS) if compared else ""
            loss, epoch = each.figures["best_loss"], each.figures["best_epoch"]
            figures = [f"{each.auc:.{DIGITS}f}", signed, f"{loss:.4f}", f"{epoch:.0f}"]
        state = f"{each.state}: {each.reason}" if each.reason else each.state
        rows.append([str(place), *(_cell(each.point[name]) for name in space.rows), *figures, str(each.epochs), state])
    return markdown(rows, left=len(parameters))


def _plot(name: str, outcomes: Sequence[Outcome], best: Outcome, space: Space) -> Figure:
    """Plot the objective against a parameter's value, with the mean of each value of a choice."""
    figure = figure_of(5.2, 3.6)
    axes = figure.subplots()
    style(axes)
    values = space.rows[name]
    places = {} if isinstance(values, Between) else {value: float(n) for n, value in enumerate(values.values)}
    for state, (mark, colour) in _MARKS.items():
        shown = [each for each in outcomes if each.state == state]
        if shown:
            axes.plot(*_points(shown, name, places), mark, color=colour, markersize=5, alpha=0.8, label=state)
    if isinstance(values, Between):
        _range(axes, values)
    else:
        _means(axes, name, outcomes, places)
        axes.set_xticks(range(len(places)), [str(value) for value in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
    x, y = _points([best], name, places)
    axes.plot(x, y, "o", label="best", markersize=11, markerfacecolor="none", color=RED)
    axes.set(xlabel=name, ylabel="validation AUC of the best epoch")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axes.set_title(f"Video-level AUC by {short(name)}", color=INK, fontsize=11)
    return figure


def _points(outcomes: Sequence[Outcome], name: str, places: Mapping[Any, float]) -> tuple[list[float], list[float]]:
    """Return coordinates of trials: the parameter's value, or the place of a choice, and the objective."""
    values = [each.point[name] for each in outcomes]
    return [places.get(value, value) for value in values], [each.auc or 0.0 for each in outcomes]


def _range(axes: Axes, values: Between) -> None:
    """Show the whole range."""
    axes.set_xlim(values.low, values.high)
    if values.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())


def _means(axes: Axes, name: str, outcomes: Sequence[Outcome], places: Mapping[Any, float]) -> None:
    """Draw the mean over the finished trials of each value of a choice."""
    x, y = (np.array(each) for each in _points([o for o in outcomes if o.state == "finished"], name, places))
    ends = [(place - 0.25, place + 0.25, float(y[x == place].mean())) for place in sorted({*x.tolist()})]
    lows, highs, means = zip(*ends, strict=True)
    axes.hlines(means, lows, highs, color=INK, linewidth=1.5, label="mean of finished")


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
