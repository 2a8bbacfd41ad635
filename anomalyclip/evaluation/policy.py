"""Policy of a promotion: what a model must show before it becomes champion. Quick to import and to check."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, model_validator

from anomalyclip.data.manifest import check_manifest_head
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.declarations import Figure
from anomalyclip.evaluation.figures import CLASS_FIGURES, FIGURES
from anomalyclip.presets import BENCHMARK, DEMONSTRATION
from anomalyclip.settings import Section, build_config

TEMPLATE = Path(__file__).parent / "promotion.yaml"
"""A policy with all thresholds at their defaults, for users to complete."""


class EvaluationPolicy(Section):
    """Data that models are judged on."""

    manifest: Path | None = None
    """The manifest whose test videos count, relative to the policy file; `benchmark` is the drawn one."""
    frame_tolerance: NonNegativeInt = 0
    """Frames by which its counts or intervals may differ from the decoded videos."""


class Thresholds(Section):
    """A threshold per declared figure of which higher or lower is better; None is no gate."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NonNegativeFloat | None] = Field(init=False)
    defaults: ClassVar[Mapping[str, float]] = {}

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: cls.defaults.get(name) for name in cls.names()}
        for name in given:
            if name not in (*known, *cls.model_fields):
                nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise ValueError(f"there is no figure {name} to judge by; did you mean {nearest}?")
        return {**known, **given}

    @classmethod
    def names(cls) -> list[str]:
        """The figures that a threshold may be given for."""
        return [figure.name for figure in judged()]

    def of(self, name: str) -> float | None:
        """The threshold of a figure."""
        assert self.__pydantic_extra__ is not None
        return self.__pydantic_extra__[name]


class Floors(Thresholds):
    """Figures of which higher is better, and what a model must reach at least, independent of the champion."""

    defaults: ClassVar[Mapping[str, float]] = {"auc": 0.8, "m_auc": 0.8}

    @classmethod
    def names(cls) -> list[str]:
        """The figures that a floor may be given for."""
        return [figure.name for figure in judged() if figure.better == "higher"]


class Ceilings(Thresholds):
    """The same for figures of which lower is better: what a model must not exceed."""

    @classmethod
    def names(cls) -> list[str]:
        """The figures that a ceiling may be given for."""
        return [figure.name for figure in judged() if figure.better == "lower"]


class Margins(Thresholds):
    """By how much a model may be worse than the champion.

    The margin of a figure: its paired 95 % interval of candidate minus champion lies above minus this (below this, if
    lower is better). The margin of a class figure, such as `class_auc`: no class is worse by more.
    """

    defaults: ClassVar[Mapping[str, float]] = {"auc": 0.01, "m_auc": 0.02, "class_auc": 0.05}
    classes: dict[str, NonNegativeFloat | None] = Field(default_factory=dict)
    """Other margins of `class_auc` for single classes, by name."""

    @classmethod
    def names(cls) -> list[str]:
        """The figures that a margin may be given for."""
        return super().names() + [f"class_{name}" for name in CLASS_FIGURES]

    @model_validator(mode="after")
    def _paired(self) -> "Margins":
        for figure in judged():
            if not figure.paired and self.of(figure.name) is not None:
                section = "ceilings" if figure.better == "lower" else "floors"
                raise ValueError(
                    f"{figure.name} has no paired interval to judge a margin by: use {section}.{figure.name}"
                )
        return self


class Baselines(Section):
    """Baselines that a model must be better than, independent of the champion."""

    above_chance: bool = True
    """The 95 % interval of AUC lies above 0.5."""
    beats_zero_shot: NonNegativeFloat | None = 0.0
    """The paired 95 % interval of AUC minus zero-shot CLIP's on the same videos lies above this."""
    beats_linear: NonNegativeFloat | None = 0.0
    """The same for the logistic regression that its training has fitted."""
    beats_mil: NonNegativeFloat | None = 0.0
    """The same for the MIL ranking model that its training has fitted."""

    def margins(self) -> dict[str, float]:
        """Return the margin of every baseline that a model must beat, by the baseline's name."""
        margins = {name: getattr(self, baseline.gate) for name, baseline in BASELINES.items()}
        return {name: margin for name, margin in margins.items() if margin is not None}


class Smoke(Section):
    """The video that a model must score before it is trusted with any."""

    video: Path | None = None
    """Relative to the policy file; None takes the shortest of the manifest's test videos."""


class Policy(Section):
    """Conditions that a model must fulfil before it becomes champion."""

    evaluation: EvaluationPolicy = EvaluationPolicy()
    floors: Floors = Field(default_factory=Floors)
    ceilings: Ceilings = Field(default_factory=Ceilings)
    margins: Margins = Field(default_factory=Margins)
    baselines: Baselines = Baselines()
    smoke: Smoke = Smoke()


def judged() -> list[Figure]:
    """Return the figures that gates may judge by."""
    return [figure for figure in FIGURES.values() if figure.better]


def policy_for(model: str, file: Path | None) -> Policy:
    """Return the policy that a registered model is judged by.

    Only models of the drawn benchmark have one without a file. Raises UsageError with the way to write one, and for a
    policy whose manifest is missing or is not the model's kind of footage.
    """
    is_drawn = model == DEMONSTRATION.model_name
    if file is None and not is_drawn:
        raise UsageError(
            f"{model} has no policy to be judged by: write one with `promote.py {model} --write-policy policy.yaml`, "
            "set its evaluation.manifest to your test videos, and give it as --policy policy.yaml"
        )
    policy = load_policy(file) if file else _drawn_policy()
    manifest = policy.evaluation.manifest
    if manifest is None:
        raise UsageError(f"policy {file}: evaluation.manifest is not set: give the manifest of your test videos")
    if str(manifest) != BENCHMARK:
        check_manifest_head(manifest)
    elif not is_drawn:
        raise UsageError(
            f"policy {file} judges on the drawn benchmark, which is for {DEMONSTRATION.model_name} only: "
            "set evaluation.manifest to your test videos"
        )
    return policy


def _drawn_policy() -> Policy:
    """Return the policy of the drawn benchmark's model."""
    # its 50 test videos are too few, and its drawings too easy, to tell the method from these two by AUC
    baselines = Baselines(beats_linear=None, beats_mil=None)
    return Policy(evaluation=EvaluationPolicy(manifest=Path(BENCHMARK)), baselines=baselines)


def load_policy(file: Path) -> Policy:
    """Read a policy, its paths made absolute; raises UsageError for a missing file or an unknown setting."""
    if not file.is_file():
        raise UsageError(f"policy file {file} does not exist: give one as --policy")
    policy, folder = build_config(Policy(), file), file.resolve().parent
    manifest, video = policy.evaluation.manifest, policy.smoke.video
    if manifest is not None and str(manifest) != BENCHMARK:
        manifest = folder / manifest
    return policy.model_copy(
        update={
            "evaluation": policy.evaluation.model_copy(update={"manifest": manifest}),
            "smoke": policy.smoke.model_copy(update={"video": video and folder / video}),
        }
    )


def write_policy(file: Path) -> None:
    """Write the template to a new file; raises UsageError if it exists or cannot be written."""
    try:
        with file.open("x") as target:
            target.write(TEMPLATE.read_text())
    except FileExistsError:
        raise UsageError(f"{file} exists already: give another name to --write-policy") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
