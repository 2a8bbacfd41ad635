"""Standing of a model: whether it is above chance, and whether it beats zero-shot CLIP on the same videos."""

from dataclasses import dataclass

from anomalyclip.evaluation.comparison import Measured, check_comparable, compare_measured, measure
from anomalyclip.evaluation.figures import FIGURES, Estimate, Figure
from anomalyclip.evaluation.intervals import Difference, Interval, plain_interval
from anomalyclip.evaluation.metrics import Metrics
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.text import difference_text, value_text

CHANCE = 0.5
NO_TEXT_TOWER = "not compared with zero-shot CLIP: there is no text tower"


@dataclass(frozen=True)
class Standing:
    """A model compared with chance on the test videos, by AUC; by video AUC if no test video has frame intervals."""

    figure: Figure
    above_chance: bool | None
    """Whether the figure's 95 % interval lies above 0.5; None if there are too few videos to decide."""
    beats_zero_shot: bool | None
    """Whether the paired interval of the difference lies above 0; None if it was not compared or cannot be told."""
    difference: Difference | None
    """The figure minus zero-shot CLIP's on the same videos."""
    sentence: str
    """The same in plain words."""

    @property
    def doubtful(self) -> bool:
        """Whether users should be warned: not known to be above chance, or not known to beat zero-shot CLIP."""
        return not self.above_chance or (self.difference is not None and not self.beats_zero_shot)

    def tags(self) -> dict[str, str]:
        """Tags of a run or a model's version."""
        words = {True: "yes", False: "no", None: "unknown"}
        return {"above_chance": words[self.above_chance], "beats_zero_shot": words[self.beats_zero_shot]}


def standing(model: Predictions, zero_shot: Predictions | None) -> Standing:
    """Return the standing of a model from its predictions and those of zero-shot CLIP (None without a text tower).

    Raises UsageError if they are not of the same videos with the same annotations.
    """
    if zero_shot is not None:
        check_comparable(model, zero_shot)
    return measured_standing(measure(model), None if zero_shot is None else measure(zero_shot))


def measured_standing(model: Measured, zero_shot: Measured | None) -> Standing:
    """Return the same from figures that are known to be comparable."""
    figure = _figure(model.metrics)
    estimate, found = model.metrics.figures[figure.name], None
    above = _is_above_chance(estimate)
    if zero_shot is not None:
        found = compare_measured(model, zero_shot).figures[figure.name]
    beats = None if found is None or found.interval is None else found.interval.low > 0
    against_zero_shot = NO_TEXT_TOWER if zero_shot is None else _beats_text(beats, found)
    sentence = f"{figure.title} {_above_text(above, estimate)}; {against_zero_shot}."
    return Standing(figure, above, beats, found, sentence)


def chance_warning(metrics: Metrics) -> str | None:
    """Return a line about a model that is not known to be above chance on the test videos; None if it is."""
    figure = _figure(metrics)
    estimate = metrics.figures[figure.name]
    above = _is_above_chance(estimate)
    return None if above else f"{figure.title} {_above_text(above, estimate)}"


def _figure(metrics: Metrics) -> Figure:
    """Return AUC, or video AUC if no test video has frame intervals."""
    return FIGURES["auc" if metrics.figures["auc"] else "video_auc"]


def _is_above_chance(estimate: Estimate | None) -> bool | None:
    bounds = interval_of(estimate)
    return None if bounds is None else bounds.low > CHANCE


def interval_of(estimate: Estimate | None) -> Interval | None:
    """Return a figure's interval, on its own scale if it is 1 with all videos or without one: still above chance."""
    if estimate is None or estimate.replicates is None:
        return None
    return estimate.interval or plain_interval(estimate.replicates)


def _above_text(above: bool | None, estimate: Estimate | None) -> str:
    if estimate is None:
        return "undefined: the test videos are not both normal and anomalous"
    text = {True: "above chance", False: "not above chance (0.5)", None: "too few test videos to tell it from chance"}
    return f"{value_text(estimate.value, estimate.interval)}: {text[above]}"


def _beats_text(beats: bool | None, found: Difference | None) -> str:
    if found is None:
        return "not comparable with zero-shot CLIP"
    difference = f"difference {difference_text(found)}"
    if beats is None:
        return f"too few test videos to compare with zero-shot CLIP, {difference}"
    is_worse = found.interval is not None and found.interval.high < 0
    verdict = "beats" if beats else "is worse than" if is_worse else "does not beat"
    return f"{verdict} zero-shot CLIP on the same videos, {difference}"
