"""Thresholds of a scoring job: from the model's table of false alarms, or given by the user."""

from dataclasses import dataclass
from pathlib import Path

from anomalyclip.config import EventsConfig
from anomalyclip.errors import UsageError
from anomalyclip.events.alarms import AlarmTable, load_alarms
from anomalyclip.events.detection import OperatingPoint

RATES = ("detections_per_hour", "alerts_per_hour")
"""Settings that only choose from the table; with the others false alarms are counted."""


@dataclass(frozen=True)
class Asked:
    """What a user asks of the thresholds; at most one is given."""

    false_alarms_per_hour: float | None = None
    threshold: float | None = None


def operating_point(model: str, bundle: Path, asked: Asked, events: EventsConfig) -> tuple[OperatingPoint, str]:
    """Return the operating point of a model, and what normal footage says of it.

    `events` are the settings of the job; those that differ from the defaults replace the model's. Raises UsageError if
    the model has no table and no threshold is given, or if its table was counted with other durations.
    """
    table = load_alarms(bundle)
    if asked.false_alarms_per_hour is not None and not asked.false_alarms_per_hour > 0:
        raise UsageError(f"--false-alarms-per-hour {asked.false_alarms_per_hour:g} must be above 0")
    if asked.threshold is not None:
        return _at(asked.threshold, table, events), f"threshold {asked.threshold:g}, as given: no count vouches for it"
    if table is None:
        raise UsageError(
            f"{model} has no table of false alarms, so there is no threshold to find events by: make one with "
            f"`python workflows/evaluate.py {model} MANIFEST`, or give --threshold P"
        )
    _check_durations(model, table, events)
    chosen = _chosen(table, events)
    per_hour = chosen.events.detections_per_hour if asked.false_alarms_per_hour is None else asked.false_alarms_per_hour
    return chosen.point(per_hour), chosen.choose(per_hour).sentence()


def _at(threshold: float, table: AlarmTable | None, events: EventsConfig) -> OperatingPoint:
    """Return the point of a given threshold; alerts are above the model's own, if it has one and that is higher."""
    if not 0 < threshold < 1:
        raise UsageError(f"--threshold {threshold:g} must be above 0 and below 1")
    durations = table.events.model_copy(update=events.changed()) if table else events
    alert = table.point().alert if table else threshold
    return OperatingPoint(detection=threshold, alert=max(threshold, alert), events=durations)


def refuse_other_events(model: str, bundle: Path, events: EventsConfig) -> None:
    """Raise UsageError if a job's settings of events differ from those of the model's table, where it has one."""
    if table := load_alarms(bundle):
        for name, own, asked in _differing(table, events):
            raise UsageError(
                f"the thresholds of {model} were chosen with events.{name}={own:g}, not {asked:g}: leave it, or train "
                "with it; score.py takes other thresholds"
            )


def _check_durations(model: str, table: AlarmTable, events: EventsConfig) -> None:
    for name, own, asked in _differing(table, events):
        if name not in RATES:
            raise UsageError(
                f"the false alarms of {model} were counted with events.{name}={own:g}, not {asked:g}: leave it, or "
                "give --threshold P"
            )


def _differing(table: AlarmTable, events: EventsConfig) -> list[tuple[str, float, float]]:
    """Return name, the table's value and the job's of each setting that the job changes."""
    pairs = [(name, getattr(table.events, name), asked) for name, asked in events.changed().items()]
    return [(name, own, asked) for name, own, asked in pairs if own != asked]


def _chosen(table: AlarmTable, events: EventsConfig) -> AlarmTable:
    """Return the table with the rates that the job asks for, if they are not the defaults."""
    asked = {name: value for name, value in events.changed().items() if name in RATES}
    return table.model_copy(update={"events": table.events.model_copy(update=asked)})
