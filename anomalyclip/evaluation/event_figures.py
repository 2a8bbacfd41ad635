"""The figures of events at the model's own operating point, declared once; `figures.py` joins them with the others.

All are over the videos whose frames have a known truth. A figure is undefined if the model has no thresholds of events
or the times of frames are unknown.
"""

from collections.abc import Callable

import numpy as np

from anomalyclip.evaluation.declarations import Estimate, Figure, Table, jackknifed
from anomalyclip.evaluation.event_table import LEAST_IOU, EventTable, event_table
from anomalyclip.evaluation.froc import Froc, froc
from anomalyclip.evaluation.intervals import poisson_interval, ratio_replicates
from anomalyclip.evaluation.predictions import BoolArray

IOUS = (0.1, 0.3, 0.5)
MAIN_IOU = 0.3
RATES = (0.1, 1.0, 10.0)
MAIN_RATE = 1.0
"""False alarms per hour."""


def found_events(table: Table) -> EventTable | None:
    """Return the events of a table of frames, to be kept in it; None if it has none."""
    return event_table(table.predictions)


def event_froc(table: Table) -> Froc | None:
    """Return the FROC of a table of frames, to be kept in it; None if it has no events."""
    events = table.once(found_events)
    return None if events is None else froc(events.videos, events.point.events)


def precision(events: EventTable, iou: float, of_class: bool) -> Estimate | None:
    """Matched of predicted events."""
    found = events.counts(iou, of_class)
    return jackknifed(ratio_replicates(found.matched, found.predicted))


def recall(events: EventTable, iou: float, of_class: bool) -> Estimate | None:
    """Matched of true events."""
    found = events.counts(iou, of_class)
    return jackknifed(ratio_replicates(found.matched, found.true))


def f1(events: EventTable, iou: float, of_class: bool) -> Estimate | None:
    """Harmonic mean of precision and recall."""
    found = events.counts(iou, of_class)
    return jackknifed(ratio_replicates(2 * found.matched, found.predicted + found.true))


def top1(events: EventTable) -> Estimate | None:
    """Share of the true events found at the lowest temporal IoU that are given one of their classes."""
    pairs = [[(true, alarm) for true, alarm in video.matches(LEAST_IOU) if alarm] for video in events.videos]
    right = [sum(alarm.label in true.labels for true, alarm in each) for each in pairs]
    matched = [len(each) for each in pairs]
    return jackknifed(ratio_replicates(np.array(right, np.float64), np.array(matched, np.float64)))


def false_alarms(events: EventTable) -> Estimate | None:
    """Predicted events without any true frame, per hour of all videos."""
    return _rate(events, np.ones(len(events.videos), np.bool_))


def normal_false_alarms(events: EventTable) -> Estimate | None:
    """Predicted events per hour of the videos without any true frame."""
    return _rate(events, events.normal)


def delay(share: float) -> Callable[[EventTable], Estimate | None]:
    """The quantile of the seconds from a true event's start to its first alarm, of those that have one."""

    def compute(events: EventTable) -> Estimate | None:
        delays = [delay for video in events.videos for delay in video.delays()]
        return Estimate(float(np.quantile(delays, share))) if delays else None

    return compute


def _rate(events: EventTable, counted: BoolArray) -> Estimate | None:
    alarms, hours = events.false_alarms * counted, events.hours * counted
    replicates = ratio_replicates(alarms, hours, most=np.inf)
    if replicates is None:
        return None
    return Estimate(replicates.point, poisson_interval(int(alarms.sum()), float(hours.sum())), replicates)


def _of_events(compute: Callable[[EventTable], Estimate | None]) -> Callable[[Table], Estimate | None]:
    def of_table(table: Table) -> Estimate | None:
        events = table.once(found_events)
        return None if events is None else compute(events)

    return of_table


def _matching(iou: float, of_class: bool) -> list[Figure]:
    """Precision, recall and F1 at one temporal IoU."""
    prefix, suffix = ("event_class", f" with class, IoU {iou}") if of_class else ("event", f", IoU {iou}")

    def figure(kind: str, title: str, of: Callable[[EventTable, float, bool], Estimate | None]) -> Figure:
        name, main = f"{prefix}_{kind}_iou{iou * 100:.0f}", kind == "f1" and iou == MAIN_IOU

        def compute(events: EventTable) -> Estimate | None:
            # without anything to find, 0 would look like a fault of the model
            return of(events, iou, of_class) if events.counts(iou, of_class).true.any() else None

        return Figure(name, f"event {title}{suffix}", "event", _of_events(compute), summary=main)

    return [figure("precision", "precision", precision), figure("recall", "recall", recall), figure("f1", "F1", f1)]


def _recall_at(rate: float) -> Figure:
    def compute(table: Table) -> Estimate | None:
        curve = table.once(event_froc)
        return None if curve is None else jackknifed(curve.recall_at(rate))

    name = f"event_recall_at_{rate:g}_per_hour".replace(".", "_")
    return Figure(name, f"event recall at {rate:g} per hour", "event", compute, summary=rate == MAIN_RATE)


EVENT_FIGURES = (
    *(figure for of_class in (False, True) for iou in IOUS for figure in _matching(iou, of_class)),
    Figure("event_top1", "class of found events, top 1", "event", _of_events(top1), summary=False),
    *map(_recall_at, RATES),
    Figure(
        "false_alarms_per_hour", "false alarms", "event", _of_events(false_alarms), better="lower", unit="per hour"
    ),
    Figure(
        "normal_false_alarms_per_hour", "false alarms in normal videos", "event", _of_events(normal_false_alarms),
        better="lower", unit="per hour", summary=False,
    ),
    Figure("median_delay", "median delay", "event", _of_events(delay(0.5)), better="lower", unit="s", paired=False),
    Figure(
        "delay_p95", "95th percentile of delay", "event", _of_events(delay(0.95)),
        better="lower", unit="s", summary=False, paired=False,
    ),
)  # fmt: skip
"""In the order of tables."""
