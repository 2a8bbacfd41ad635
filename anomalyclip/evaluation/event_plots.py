"""Plots of events: recall against false alarms per hour, and which class was taken for which."""

import numpy as np
from matplotlib.figure import Figure

from anomalyclip.evaluation.event_table import LEAST_IOU, EventTable
from anomalyclip.evaluation.froc import MOST_RATE, Froc
from anomalyclip.evaluation.plot_style import BLUE, INK, MUTED, RED, cut, single_figure

LINEAR = 0.1
"""False alarms per hour below which the axis is linear: the curve starts at none."""


def froc_plot(curve: Froc, events: EventTable) -> Figure:
    """Return the recall of true events against false alarms per hour, with the model's own operating point."""
    figure, axes = single_figure(5.8, 5.0)
    axes.step(curve.rates(), curve.recalls(), where="post", color=BLUE, linewidth=2)
    alarms, hours = events.false_alarms.sum(), events.hours.sum()
    found = np.mean([alarm is not None for video in events.videos for alarm in video.first_alarms()])
    axes.plot(alarms / hours, found, "o", color=RED, markersize=7, markeredgecolor="white", clip_on=False, zorder=3)
    axes.axvline(1 / hours, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.text(1 / hours, 0.01, " one alarm in all videos", color=MUTED, fontsize=8)
    axes.set_xscale("symlog", linthresh=LINEAR)
    ticks = [0, 0.1, 1, 10, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="False alarms per hour", ylabel="Recall of true events", xlim=(0, MOST_RATE))
    heading = f"Recall of events against false alarms, {hours:.3g} h of video"
    axes.set_title(f"{heading}\nred: the model's own threshold", color=INK, fontsize=11)
    return figure


def confusion_plot(events: EventTable) -> Figure:
    """Return the counts of `EventTable.confusion`, true classes in rows."""
    counts = events.confusion()
    size = 2.6 + 0.45 * len(counts)
    figure, axes = single_figure(size + 0.6, size)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="equal")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.65 else INK
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    names = [cut(name, 20) for name in events.classes]
    axes.set_xticks(range(len(counts)), [*names, "missed"], rotation=45, ha="right")
    axes.set_yticks(range(len(counts)), [*names, "no event"])
    axes.grid(visible=False)
    axes.set(
        xlabel="Predicted class", ylabel="True class", xlim=(-0.5, len(counts) - 0.5), ylim=(len(counts) - 0.5, -0.5)
    )
    axes.set_title(f"Classes of events, matched at IoU {LEAST_IOU}", color=INK, fontsize=11)
    return figure
