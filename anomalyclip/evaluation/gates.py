"""Gates a model passes before it goes into service: the policy they follow, and the verdict of each with its figures.

A threshold that the policy sets to null is no gate. A figure that is undefined passes no gate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from anomalyclip.config import Section, build_config
from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.comparison import Comparison, Measured, check_comparable, compare_measured, measure
from anomalyclip.evaluation.intervals import Difference, Replicates
from anomalyclip.evaluation.predictions import Predictions

MOST_NAMED = 5
"""Classes that a line names."""
Figure = float | str | None


class EvaluationPolicy(Section):
    """What models are judged on."""

    manifest: Path | None = None
    """The manifest whose test part counts, relative to the policy file; None takes the drawn benchmark."""
    frame_tolerance: NonNegativeInt = 0
    """Frames by which its counts or intervals may differ from the decoded videos."""


class Floors(Section):
    """Figures a model must reach, whatever the champion has."""

    auc: NonNegativeFloat | None = 0.8
    m_auc: NonNegativeFloat | None = 0.8


class Margins(Section):
    """By how much a model may be worse than the champion."""

    auc: NonNegativeFloat | None = 0.01
    """The lower bound of the paired 95 % interval of ΔAUC lies above minus this."""
    m_auc: NonNegativeFloat | None = 0.02
    """The same for ΔmAUC."""
    class_auc: NonNegativeFloat | None = 0.05
    """No class loses more AUC against the rest."""
    classes: dict[str, NonNegativeFloat | None] = Field(default_factory=dict)
    """The same for single classes, by name, in the place of `class_auc`."""


class Smoke(Section):
    """The video that a model must score before it is trusted with any."""

    video: Path | None = None
    """Relative to the policy file; None takes the shortest of the manifest's test part."""


class Policy(Section):
    """What a model must show before it becomes champion."""

    evaluation: EvaluationPolicy = EvaluationPolicy()
    floors: Floors = Floors()
    margins: Margins = Margins()
    smoke: Smoke = Smoke()


@dataclass(frozen=True)
class Gate:
    """The verdict of one gate."""

    name: str
    passed: bool
    says: str
    """Its figures and what was asked of them, in one line."""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def load_policy(file: Path) -> Policy:
    """Read a policy, its paths made absolute; raises UsageError for a missing file or an unknown setting."""
    if not file.is_file():
        raise UsageError(f"policy file {file} does not exist: give one as --policy")
    policy, folder = build_config(Policy(), file), file.resolve().parent
    manifest, video = policy.evaluation.manifest, policy.smoke.video
    return policy.model_copy(
        update={
            "evaluation": policy.evaluation.model_copy(update={"manifest": manifest and folder / manifest}),
            "smoke": policy.smoke.model_copy(update={"video": video and folder / video}),
        }
    )


def judge_figures(
    policy: Policy, test_videos: Sequence[str], candidate: Predictions, champion: Predictions | None
) -> list[Gate]:
    """Return the verdicts on the candidate's predictions of the test videos, and against the champion's."""
    measured, data = measure(candidate), _data_gate(test_videos, candidate, champion)
    if champion is None:
        paired = _unpaired(policy.margins, True, "there is no champion to be held against")
    elif data.passed:
        paired = _paired(policy.margins, measured, measure(champion))
    else:
        paired = _unpaired(policy.margins, False, "not comparable with the champion")
    floors = [
        _floor_gate("auc", "AUC", measured.auc, policy.floors.auc),
        _floor_gate("m_auc", "mAUC", measured.m_auc, policy.floors.m_auc),
    ]
    return [data, *(gate for gate in [*floors, *paired] if gate is not None)]


def _data_gate(test_videos: Sequence[str], candidate: Predictions, champion: Predictions | None) -> Gate:
    """Whether both models were scored on the same videos and annotations, those of the policy's manifest."""
    foreign = set(candidate.video_ids) - set(test_videos)
    scored, digest = len(candidate.video_ids), candidate.digests.annotations
    says = f"{scored} of {len(test_videos)} test videos, annotations {digest[:12]}"
    figures: dict[str, Figure] = {"videos": scored, "test_videos": len(test_videos), "annotations": digest}
    if foreign:
        return Gate("data", False, f"{says}; {len(foreign)} videos are not in the policy's manifest", figures)
    try:
        if champion is not None:
            check_comparable(candidate, champion)
    except UsageError as error:
        return Gate("data", False, f"{says}; {error} (first: the candidate, second: the champion)", figures)
    return Gate("data", True, says + ("" if champion is None else ", as the champion"), figures)


def _floor_gate(name: str, title: str, figure: Replicates | None, floor: float | None) -> Gate | None:
    if floor is None:
        return None
    value = None if figure is None else figure.point
    passed = value is not None and value >= floor
    says = f"{title} {_figure(value)} {'≥' if passed else 'is not ≥'} {floor:.4f}"
    return Gate(name, passed, says, {"value": value, "floor": floor})


def _unpaired(margins: Margins, passed: bool, says: str) -> list[Gate | None]:
    """Return the verdicts of the gates against a champion where there are no figures for them."""
    asked = {"delta_auc": margins.auc, "delta_m_auc": margins.m_auc, "class_auc": margins.class_auc}
    return [Gate(name, passed, says) for name, margin in asked.items() if margin is not None]


def _paired(margins: Margins, candidate: Measured, champion: Measured) -> list[Gate | None]:
    comparison = compare_measured(candidate, champion)
    return [
        _delta_gate("delta_auc", "ΔAUC", comparison.auc, margins.auc),
        _delta_gate("delta_m_auc", "ΔmAUC", comparison.m_auc, margins.m_auc),
        _class_gate(candidate, champion, comparison, margins),
    ]


def _delta_gate(name: str, title: str, found: Difference | None, margin: float | None) -> Gate | None:
    """Whether the lower bound of a paired interval lies above minus the margin."""
    if margin is None:
        return None
    value, interval = (found.value, found.interval) if found else (None, None)
    if interval is None:
        why = "the figure is undefined, or the models know other classes" if found is None else "too few videos"
        return Gate(name, False, f"{title} {_figure(value)} has no interval: {why}", {"value": value, "margin": margin})
    passed = interval.low > -margin
    says = (f"{title} {value:+.4f} ({interval.low:+.4f} to {interval.high:+.4f}); the lower bound "
            f"{'>' if passed else 'is not >'} {-margin:.4f}")  # fmt: skip
    return Gate(name, passed, says, {"value": value, "low": interval.low, "high": interval.high, "margin": margin})


def _class_gate(candidate: Measured, champion: Measured, comparison: Comparison, margins: Margins) -> Gate | None:
    """Whether every class that the champion knows is there, and none has lost its margin or more."""
    asked = {name: margins.classes.get(name, margins.class_auc) for name in champion.of_class if name != NORMAL}
    limits = {name: limit for name, limit in asked.items() if limit is not None}
    if not limits:
        return None
    lost = [name for name in limits if name not in candidate.of_class]
    deltas = {name: comparison.of_class[name].value for name in limits if name in comparison.of_class}
    worse = {name: delta for name, delta in deltas.items() if delta < -limits[name]}
    if lost or worse:
        said = [*(f"{name} is unknown to the model" for name in lost), *_classes(worse, limits)]
        says = "worse than the champion: " + "; ".join(said)
    else:
        says = "the worst against the champion: " + "; ".join(_classes(deltas, limits)[:1])
    return Gate("class_auc", not lost and not worse, says, {**deltas, **dict.fromkeys(lost)})


def _classes(deltas: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """Classes with their differences and margins, the worst first."""
    ordered = sorted(deltas, key=lambda name: deltas[name])
    said = [f"{name} {deltas[name]:+.4f} (margin {limits[name]:.4f})" for name in ordered[:MOST_NAMED]]
    return said + (["…"] if len(ordered) > MOST_NAMED else [])


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
