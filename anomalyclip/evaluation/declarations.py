"""How a figure is declared: what it is, how it is computed, and what its readers need to know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from anomalyclip.evaluation.intervals import Interval, Replicates, logit_interval
from anomalyclip.evaluation.predictions import Predictions

Level = Literal["frame", "video", "event"]
"""Unit that a figure counts: frames or events of videos with a known truth of frames, or whole videos. Events are those
at the model's own operating point."""

Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False)
class Estimate:
    """The value of a figure on one predictions table."""

    value: float
    interval: Interval | None = None
    """None if the figure has none, or if there are too few videos for one."""
    replicates: Replicates | None = None
    """Values for paired differences; None if the figure does not compare."""
    classes: frozenset[str] = frozenset()
    """The classes of which it is the mean: means over other classes do not compare."""


class Table:
    """The predictions that the figures of one level are computed from; what several figures need is computed once."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self._kept: dict[Callable[[Table], Any], Any] = {}
        self._of_class: dict[str, dict[str, Estimate]] = {}

    def once(self, compute: Callable[["Table"], Kept]) -> Kept:
        """Return what a function makes of this table; it is called once."""
        if compute not in self._kept:
            self._kept[compute] = compute(self)
        kept: Kept = self._kept[compute]
        return kept

    def of_class(self, figure: "ClassFigure") -> Mapping[str, Estimate]:
        """Return a class figure for each class of the model, Normal included, for which it is defined."""
        if figure.name not in self._of_class:
            found = {of: figure.compute(self.predictions, of) for of in self.predictions.classes}
            self._of_class[figure.name] = {of: estimate for of, estimate in found.items() if estimate is not None}
        return self._of_class[figure.name]


@dataclass(frozen=True)
class Figure:
    """The declaration of a figure of a whole table."""

    name: str
    """Its key in results, metrics.json, MLflow and policies; its interval's ends are `<name>_low` and `<name>_high`."""
    title: str
    """Its name for people."""
    level: Level
    compute: Callable[[Table], Estimate | None]
    """None if it is undefined."""
    better: Literal["higher", "lower"] | None = "higher"
    """None: neither, so it is not compared and is no gate."""
    unit: str = ""
    """Empty for a figure between 0 and 1."""
    summary: bool = True
    """Whether it is in the log's summary, in results and in comparisons; metrics.json and MLflow have all figures."""
    headline: bool = False
    """Whether it is in the tags of a model's version and in the tables that compare it with baselines."""
    paired: bool = True
    """Whether its estimates have replicates: two models compare with an interval, and a policy may set a margin."""

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class ClassFigure:
    """The declaration of a figure of each class against the rest."""

    name: str
    """`<name>/<class>` in MLflow and metrics.json, `class_<name>` in comparisons and policies."""
    title: str
    level: Level
    compute: Callable[[Predictions, str], Estimate | None]
    """The figure of one of the model's classes; None if it is undefined."""
    summary: bool = False
    """Whether the tables of comparisons and of the demo show it."""


def jackknifed(replicates: Replicates | None, classes: frozenset[str] = frozenset()) -> Estimate | None:
    """Return a figure between 0 and 1 with its jackknife interval."""
    if replicates is None:
        return None
    return Estimate(replicates.point, logit_interval(replicates), replicates, classes)
