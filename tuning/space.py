"""Search space: settings, and the values to choose from. Imports neither Ray nor Optuna."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomalyclip.config import RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.settings import with_settings

Point = Mapping[str, Any]
"""One value for every row of a space, by the row's name."""

TOGETHER = " + "
"""Joins the settings of a row that take the same value."""

_SEARCHED = ("model", "loss", "training.learning_rate", "training.weight_decay", "training.warmup_epochs")
"""Sections and settings that a search may change; all others decide what its trials are compared on."""
_INSIDE = 0.382
"""Point at which a range is probed between its ends: a fraction, which settings of whole numbers refuse."""


@dataclass(frozen=True)
class OneOf:
    """Values to choose from."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Between:
    """Any number of a range."""

    low: float
    high: float
    log: bool = False
    """Whether every order of magnitude is equally likely, instead of every number."""

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" + (", by orders of magnitude" if self.log else "")


def one_of(*values: Any) -> OneOf:
    """Return values to choose from."""
    return OneOf(values)


def between(low: float, high: float) -> Between:
    """Return a range in which every number is equally likely."""
    return Between(low, high)


def log_between(low: float, high: float) -> Between:
    """Return a range, above zero, in which every order of magnitude is equally likely."""
    return Between(low, high, log=True)


@dataclass(frozen=True)
class Space:
    """A search space: a grid of all combinations, or a number of trials drawn from it."""

    rows: Mapping[str, OneOf | Between]
    """By `section.key`; `section.key + section.key` gives several settings the same value."""
    trials: int | None = None
    """Number of points to draw; None tries every combination."""
    source: str = "search space"
    """Its name in error messages."""

    def points(self) -> list[Point]:
        """Return all combinations of a grid; larger values, which take longer, come first."""
        values = [reversed(choice.values) for choice in self.rows.values() if isinstance(choice, OneOf)]
        return [dict(zip(self.rows, chosen, strict=True)) for chosen in itertools.product(*values)]

    def content(self) -> dict[str, Any]:
        """Return what distinguishes this space from others, as JSON-like values by name."""
        return {"space.trials": self.trials, **{f"space.{name}": str(values) for name, values in self.rows.items()}}

    def check(self, config: RunConfig) -> None:
        """Raise UsageError for unknown settings, settings that cannot be searched, and values they cannot have."""
        settings = [setting for name in self.rows for setting in _settings(name)]
        for setting in settings:
            with_point(config, {setting: _value(config, setting)}, self.source)  # an unknown one: the nearest is named
            if setting not in _SEARCHED and setting.partition(".")[0] not in _SEARCHED:
                raise UsageError(f"{self.source}: {setting} decides what trials are compared on; it cannot be searched")
            if settings.count(setting) > 1:
                raise UsageError(f"{self.source}: {setting} has more than one row")
        if config.model.context_text and "model.context_length" in settings:
            raise UsageError(f"{self.source}: model.context_text fixes the length of the context; remove one of them")
        if config.training.validate_every > 1:
            raise UsageError("a search judges every epoch of its trials: leave training.validate_every at 1")
        ranges = [name for name, values in self.rows.items() if isinstance(values, Between)]
        if self.trials is None and ranges:
            raise UsageError(
                f"{self.source}: a grid takes lists of values, and {ranges[0]} has a range: "
                "give a list, or the number of trials to draw"
            )
        if self.trials is not None and not ranges:
            raise UsageError(f"{self.source}: drawn trials need at least one row with a range, else they repeat")
        for point in self.points() if self.trials is None else self._probes():
            with_point(config, point, self.source)

    def _probes(self) -> list[Point]:
        """Return points of one row each: every value of a list; both ends of a range, and a number between."""
        probes: dict[str, Sequence[Any]] = {
            name: values.values
            if isinstance(values, OneOf)
            else (values.low, values.high, values.low + _INSIDE * (values.high - values.low))
            for name, values in self.rows.items()
        }
        return [{name: value} for name, values in probes.items() for value in values]


def with_point(config: RunConfig, point: Point, source: str = "trial") -> RunConfig:
    """Return a configuration with a point's values; raises UsageError, naming the source, if they do not fit."""
    changes = [(source, setting, value) for name, value in point.items() for setting in _settings(name)]
    try:
        return with_settings(config, changes)
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(source) else f"{source}: {error}") from None


def short(name: str) -> str:
    """Return a row's name without sections."""
    return TOGETHER.join(setting.rpartition(".")[2] for setting in _settings(name))


def describe(point: Point) -> str:
    """Return a point in a few words: `k=3 context_length=8`."""
    return " ".join(f"{short(name)}={_text(value)}" for name, value in point.items())


def _settings(name: str) -> list[str]:
    return name.split(TOGETHER)


def _value(config: RunConfig, setting: str) -> Any:
    """Return a setting's value, None if there is no such setting."""
    section, _, key = setting.partition(".")
    return getattr(getattr(config, section, None), key, None)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
