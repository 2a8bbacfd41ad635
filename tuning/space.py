"""What a search tries: settings, and the values to choose from. Knows neither Ray nor Optuna."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomalyclip.config import RunConfig, with_settings
from anomalyclip.errors import UsageError

Point = Mapping[str, Any]
"""A value for every row of a space, by the row's name."""

TOGETHER = " + "
"""Between the settings of a row that take the same value."""

_SEARCHED = ("model", "loss", "training.learning_rate", "training.weight_decay", "training.warmup_epochs")
"""Sections and settings that a search may change; all others decide what its trials are compared on."""


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
    """Whether orders of magnitude are as likely as each other, not numbers."""

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" + (", by orders of magnitude" if self.log else "")


def one_of(*values: Any) -> OneOf:
    """Return values to choose from."""
    return OneOf(values)


def between(low: float, high: float) -> Between:
    """Return a range in which every number is as likely as another."""
    return Between(low, high)


def log_between(low: float, high: float) -> Between:
    """Return a range, above zero, in which every order of magnitude is as likely as another."""
    return Between(low, high, log=True)


@dataclass(frozen=True)
class Space:
    """A search space: a grid of all combinations, or a number of trials to be drawn from it."""

    rows: Mapping[str, OneOf | Between]
    """By `section.key`; `section.key + section.key` gives several settings the same value."""
    trials: int | None = None
    """How many to draw; None tries every combination."""

    def points(self) -> list[Point]:
        """Return all combinations of a grid; larger values, which take longer, come first."""
        values = [reversed(choice.values) for choice in self.rows.values() if isinstance(choice, OneOf)]
        return [dict(zip(self.rows, chosen, strict=True)) for chosen in itertools.product(*values)]

    def content(self) -> dict[str, Any]:
        """Return what tells this space from others, as JSON-like values by name."""
        return {"space.trials": self.trials, **{f"space.{name}": str(values) for name, values in self.rows.items()}}

    def applied(self, config: RunConfig, point: Point) -> RunConfig:
        """Return a configuration with a point's values; raises UsageError where they do not go together."""
        return with_settings(
            config, [("search space", setting, value) for name, value in point.items() for setting in _settings(name)]
        )

    def check(self, config: RunConfig) -> None:
        """Raise UsageError for settings that are none, or not to be searched, and for values that they cannot have."""
        for setting in (setting for name in self.rows for setting in _settings(name)):
            if setting not in _SEARCHED and setting.partition(".")[0] not in _SEARCHED:
                raise UsageError(f"search space: {setting} decides what trials are compared on; it cannot be searched")
        if config.model.context_text and "model.context_length" in self.rows:
            raise UsageError("search space: model.context_text fixes the length of the context; take one of them away")
        continuous = [name for name, values in self.rows.items() if isinstance(values, Between)]
        if self.trials is None and continuous:
            raise UsageError(f"search space: a grid has values one by one, {continuous[0]} has a range")
        if self.trials is not None and not continuous:
            raise UsageError("search space: trials that are drawn need a range somewhere, else they repeat themselves")
        for point in self.points() if self.trials is None else self._ends():
            self.applied(config, point)

    def _ends(self) -> list[Point]:
        """Return points of one value each: all that a row may have, or the ends of its range."""
        ends: dict[str, Sequence[Any]] = {
            name: values.values if isinstance(values, OneOf) else (values.low, values.high)
            for name, values in self.rows.items()
        }
        return [{name: value} for name, values in ends.items() for value in values]


def find_space(spaces: Mapping[str, Space], name: str) -> Space:
    """Return the space of that name; raises UsageError that lists the names there are."""
    if name not in spaces:
        raise UsageError(f"unknown space {name}; there are: {', '.join(spaces)}")
    return spaces[name]


def short(name: str) -> str:
    """Return a row's name without sections."""
    return TOGETHER.join(setting.rpartition(".")[2] for setting in _settings(name))


def describe(point: Point) -> str:
    """Return a point in a few words: `k=3 context_length=8`."""
    return " ".join(f"{short(name)}={_text(value)}" for name, value in point.items())


def _settings(name: str) -> list[str]:
    return name.split(TOGETHER)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
