"""Standing of a model: whether it is above chance, and which baselines it beats on the same videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomalyclip.evaluation.baselines import BASELINES, Absent, Baseline
from anomalyclip.evaluation.comparison import Measured, check_comparable, figure_differences
from anomalyclip.evaluation.declarations import Estimate, Figure
from anomalyclip.evaluation.figures import FIGURES, headlines
from anomalyclip.evaluation.intervals import Difference, Interval, plain_interval
from anomalyclip.evaluation.metrics import Metrics
from anomalyclip.evaluation.tables import aligned
from anomalyclip.evaluation.text import UNDEFINED, difference_text, value_text

CHANCE = 0.5
WORDS = {True: "yes", False: "no", None: "unknown"}
"""A verdict as the value of a tag."""


@dataclass(frozen=True)
class Against:
    """A model compared with a baseline."""

    baseline: Baseline
    other: Measured | Absent
    """The baseline on the same test videos."""
    differences: Mapping[str, Difference | None]
    """The model's figures minus the baseline's, by name; none if it is absent."""
    beats: bool | None
    """Whether the paired interval of the decisive figure's difference lies above 0; None if that is not known."""
    sentence: str

    @property
    def is_doubtful(self) -> bool:
        """Whether the two were compared, and the model is not known to be the better one."""
        return not self.beats and any(self.differences.values())


@dataclass(frozen=True)
class Standing:
    """A model compared with chance and baselines, by AUC; by video AUC if no test video has frame intervals."""

    figure: Figure
    """The decisive one."""
    model: Measured
    above_chance: bool | None
    """Whether the figure's 95 % interval lies above 0.5; None if there are too few videos to decide."""
    against: Sequence[Against]
    sentence: str
    """The same in plain words."""

    @property
    def is_doubtful(self) -> bool:
        """Whether users should be warned: not known to be above chance, or to beat a baseline."""
        return not self.above_chance or any(each.is_doubtful for each in self.against)

    def tags(self) -> dict[str, str]:
        """Tags of a run or a model's version, and fields of a result: yes, no or unknown."""
        beats = {each.baseline.gate: WORDS[each.beats] for each in self.against}
        return {"above_chance": WORDS[self.above_chance], **beats}

    def table(self) -> str:
        """Return the headline figures of model and baselines, and the paired differences, with 95 % intervals."""
        figures = headlines()
        rows = [["", *(figure.heading for figure in figures), ""]]
        rows.append(["this model", *map(self.model.metrics.text, figures), ""])
        for each in self.against:
            if isinstance(each.other, Absent):
                rows.append([each.baseline.title, *["none"] * len(figures), each.other.why])
            else:
                rows.append([each.baseline.title, *map(each.other.metrics.text, figures), ""])
        for each in self.against:
            if isinstance(each.other, Measured):
                differences = (difference_text(each.differences[figure.name]) for figure in figures)
                rows.append([f"minus {each.baseline.title}", *differences, ""])
        return aligned(rows)


def unknown_standing() -> dict[str, str]:
    """Return the tags of a model that was not scored on any test video."""
    return dict.fromkeys(["above_chance", *(baseline.gate for baseline in BASELINES.values())], WORDS[None])


def standing(model: Measured, others: Mapping[str, Measured | Absent]) -> Standing:
    """Return the standing of a model beside baselines, given by name.

    Raises UsageError if a baseline was not scored on the same videos with the same annotations.
    """
    figure = decisive_figure(model.metrics)
    estimate = model.metrics.figures[figure.name]
    above = _is_above_chance(estimate)
    against = [_against(BASELINES[name], figure, model, other) for name, other in others.items()]
    sentences = [f"{figure.title} {_above_text(above, estimate)}", *(each.sentence for each in against)]
    return Standing(figure, model, above, against, f"{'; '.join(sentences)}.")


def chance_warning(metrics: Metrics) -> str | None:
    """Return a line about a model that is not known to be above chance on the test videos; None if it is."""
    figure = decisive_figure(metrics)
    estimate = metrics.figures[figure.name]
    above = _is_above_chance(estimate)
    return None if above else f"{figure.title} {_above_text(above, estimate)}"


def decisive_figure(metrics: Metrics) -> Figure:
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


def _against(baseline: Baseline, figure: Figure, model: Measured, other: Measured | Absent) -> Against:
    if isinstance(other, Absent):
        return Against(baseline, other, {}, None, f"not compared with {baseline.title}: {other.why}")
    check_comparable(model.predictions, other.predictions)
    differences = figure_differences(model, other)
    found = differences[figure.name]
    beats = None if found is None or found.interval is None else found.interval.low > 0
    return Against(baseline, other, differences, beats, _beats_text(baseline.title, beats, found))


def _above_text(above: bool | None, estimate: Estimate | None) -> str:
    if estimate is None:
        return f"{UNDEFINED}: the test videos are not both normal and anomalous"
    text = {True: "above chance", False: "not above chance (0.5)", None: "too few test videos to tell it from chance"}
    return f"{value_text(estimate.value, estimate.interval)}: {text[above]}"


def _beats_text(title: str, beats: bool | None, found: Difference | None) -> str:
    if found is None:
        return f"not comparable with {title}"
    difference = f"difference {difference_text(found)}"
    if beats is None:
        return f"too few test videos to compare with {title}, {difference}"
    is_worse = found.interval is not None and found.interval.high < 0
    verdict = "beats" if beats else "is worse than" if is_worse else "does not beat"
    return f"{verdict} {title}, {difference}"
