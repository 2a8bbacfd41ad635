"""Gates that a model passes before it goes into service: the verdict of each, with its figures.

A threshold that the policy sets to null is no gate. A figure that is undefined passes no gate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES, Absent, Baseline
from anomalyclip.evaluation.comparison import Comparison, Measured, check_comparable, compare_measured, measure
from anomalyclip.evaluation.declarations import Estimate, Figure
from anomalyclip.evaluation.figures import CLASS_FIGURES
from anomalyclip.evaluation.intervals import Difference
from anomalyclip.evaluation.policy import Baselines, Margins, Policy, judged
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.standing import CHANCE, decisive_figure, interval_of, standing
from anomalyclip.evaluation.text import UNDEFINED, difference_text, value_text

MOST_NAMED = 5
"""Classes that a line names."""
Value = float | str | None


@dataclass(frozen=True)
class Gate:
    """The verdict of one gate."""

    name: str
    passed: bool
    says: str
    """Its figures and the required values, in one line."""
    figures: Mapping[str, Value] = field(default_factory=dict)


def judge_figures(
    policy: Policy,
    test_videos: Sequence[str],
    candidate: Predictions,
    champion: Predictions | None,
    baselines: Mapping[str, Predictions | Absent],
) -> list[Gate]:
    """Return the verdicts on the candidate's predictions of the test videos.

    `champion` are the predictions of the model in service (None: there is none), `baselines` those of the baselines
    that the policy asks for, by name, all of the same videos.
    """
    measured, data = measure(candidate), _data_gate(test_videos, candidate, champion)
    if champion is None:
        paired = _unpaired(policy.margins, True, "there is no champion to compare with")
    elif data.passed:
        paired = _paired(policy.margins, measured, measure(champion))
    else:
        paired = _unpaired(policy.margins, False, "not comparable with the champion")
    bounds = [_single_gate(figure, measured, policy) for figure in judged()]
    beaten = _baseline_gates(policy.baselines, measured, baselines)
    return [data, *(gate for gate in [*bounds, *beaten, *paired] if gate is not None)]


def _data_gate(test_videos: Sequence[str], candidate: Predictions, champion: Predictions | None) -> Gate:
    """Whether both models were scored on the same videos and annotations, those of the policy's manifest."""
    foreign = set(candidate.video_ids) - set(test_videos)
    scored, digest = len(candidate.video_ids), candidate.digests.annotations
    says = f"{scored} of {len(test_videos)} test videos, annotations {digest[:12]}"
    figures: dict[str, Value] = {"videos": scored, "test_videos": len(test_videos), "annotations": digest}
    if foreign:
        return Gate("data", False, f"{says}; {len(foreign)} videos are not in the policy's manifest", figures)
    try:
        if champion is not None:
            check_comparable(candidate, champion)
    except UsageError as error:
        return Gate("data", False, f"{says}; {error} (first: the candidate, second: the champion)", figures)
    return Gate("data", True, says + ("" if champion is None else ", as the champion"), figures)


def _single_gate(figure: Figure, candidate: Measured, policy: Policy) -> Gate | None:
    """Whether a figure reaches its floor, or does not exceed its ceiling."""
    kind, sign, given = ("ceiling", "≤", policy.ceilings) if figure.better == "lower" else ("floor", "≥", policy.floors)
    if (bound := given.of(figure.name)) is None:
        return None
    value = candidate.metrics.value(figure.name)
    passed = value is not None and (value <= bound if sign == "≤" else value >= bound)
    if value is None:
        remedy = f"set {kind}s.{figure.name} to null to judge without it"
        says = f"{figure.heading} {candidate.metrics.text(figure)}; {remedy}"
    else:
        shown, limit = (value_text(number, digits=4) for number in (value, bound))
        says = f"{figure.heading} {shown} {sign if passed else f'is not {sign}'} {limit}"
    return Gate(figure.name, passed, says, {"value": value, kind: bound})


def _baseline_gates(asked: Baselines, candidate: Measured, baselines: Mapping[str, Predictions | Absent]) -> list[Gate]:
    """Whether the candidate is above chance and above every baseline that is asked for."""
    figure = decisive_figure(candidate.metrics)
    chance = [_chance_gate(figure, candidate.metrics.figures[figure.name])] if asked.above_chance else []
    return [
        *chance,
        *(_beats_gate(BASELINES[name], candidate, baselines[name], margin) for name, margin in asked.margins().items()),
    ]


def _chance_gate(figure: Figure, estimate: Estimate | None) -> Gate:
    """Whether the lower bound of a figure's interval lies above chance."""
    value, bounds = None if estimate is None else estimate.value, interval_of(estimate)
    if bounds is None:
        why = "" if estimate is None else " has no interval: too few videos"
        return Gate("above_chance", False, f"{figure.title} {value_text(value, digits=4)}{why}", {"value": value})
    passed = bounds.low > CHANCE
    says = (f"{figure.title} {value_text(value, digits=4)}; the lower bound {bounds.low:.4f} "
            f"{'>' if passed else 'is not >'} {CHANCE}")  # fmt: skip
    return Gate("above_chance", passed, says, {"value": value, "low": bounds.low})


def _beats_gate(baseline: Baseline, candidate: Measured, other: Predictions | Absent, margin: float) -> Gate:
    """Whether the candidate beats a baseline by the margin."""
    if isinstance(other, Absent):
        passed = other.is_excused
        remedy = "" if passed else f", or set baselines.{baseline.gate} to null to judge without it"
        return Gate(baseline.gate, passed, f"not compared with {baseline.title}: {other.why}{remedy}")
    try:
        found = standing(candidate, {baseline.name: measure(other)})
    except UsageError as error:
        return Gate(baseline.gate, False, f"{error} (first: the candidate, second: {baseline.title})")
    difference = found.against[0].differences[found.figure.name]
    return _bound_gate(baseline.gate, f"{found.figure.title} minus that of {baseline.title}", difference, margin)


def _unpaired(margins: Margins, passed: bool, says: str) -> list[Gate | None]:
    """Return the verdicts of the gates against a champion if there are no figures for them."""
    asked = {_gate_name(name): margins.of(name) for name in margins.names()}
    return [Gate(name, passed, says) for name, margin in asked.items() if margin is not None]


def _gate_name(name: str) -> str:
    return name if name.startswith("class_") else f"delta_{name}"


def _paired(margins: Margins, candidate: Measured, champion: Measured) -> list[Gate | None]:
    comparison = compare_measured(candidate, champion)
    return [
        *(_delta_gate(figure, comparison.figures[figure.name], margins.of(figure.name)) for figure in judged()),
        *(_class_gate(name, candidate, champion, comparison, margins) for name in CLASS_FIGURES),
    ]


def _delta_gate(figure: Figure, found: Difference | None, margin: float | None) -> Gate | None:
    """Whether the paired interval of candidate minus champion lies on the good side of the margin."""
    if margin is None:
        return None
    return _bound_gate(f"delta_{figure.name}", f"Δ{figure.heading}", found, -margin, figure.better == "lower")


def _bound_gate(name: str, title: str, found: Difference | None, bound: float, lower_is_better: bool = False) -> Gate:
    """Whether the paired interval of a difference lies above a bound, or below minus it if lower is better."""
    value, interval = (found.value, found.interval) if found else (None, None)
    asked: dict[str, Value] = {"value": value, "margin": abs(bound)}
    if interval is None:
        why = "the figure is undefined, or the models know other classes" if found is None else "too few videos"
        shown = UNDEFINED if value is None else value_text(value, sign="+", digits=4)
        return Gate(name, False, f"{title} {shown} has no interval: {why}", asked)
    limit = -bound if lower_is_better else bound
    passed = interval.high < limit if lower_is_better else interval.low > limit
    which, sign = ("upper", "<") if lower_is_better else ("lower", ">")
    says = (f"{title} {difference_text(found, 4)}; the {which} bound "
            f"{sign if passed else f'is not {sign}'} {value_text(limit, digits=4)}")  # fmt: skip
    return Gate(name, passed, says, {**asked, "low": interval.low, "high": interval.high})


def _class_gate(
    kind: str, candidate: Measured, champion: Measured, comparison: Comparison, margins: Margins
) -> Gate | None:
    """Whether every class that the champion knows is there, and none has lost its margin or more."""
    name, own = f"class_{kind}", margins.classes if kind == "auc" else {}
    theirs = [of for of, found in champion.metrics.of_class[kind].items() if found and of != NORMAL]
    ours = candidate.metrics.of_class[kind]
    limits = {of: limit for of in theirs if (limit := own.get(of, margins.of(name))) is not None}
    if not limits:
        return None
    lost = [of for of in limits if ours.get(of) is None]
    differences = comparison.of_class[kind]
    deltas = {of: differences[of].value for of in limits if of in differences}
    worse = {of: delta for of, delta in deltas.items() if delta < -limits[of]}
    if lost or worse:
        says = "worse than the champion: " + "; ".join(
            [*(f"{of} is unknown to the model" for of in lost), *_classes(worse, limits)]
        )
    else:
        says = "the worst compared with the champion: " + "; ".join(_classes(deltas, limits)[:1])
    return Gate(name, not lost and not worse, says, {**deltas, **dict.fromkeys(lost)})


def _classes(deltas: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """Classes with their differences and margins, the worst first."""
    ordered = sorted(deltas, key=lambda name: deltas[name])
    said = [f"{name} {deltas[name]:+.4f} (margin {limits[name]:.4f})" for name in ordered[:MOST_NAMED]]
    return said + (["…"] if len(ordered) > MOST_NAMED else [])
