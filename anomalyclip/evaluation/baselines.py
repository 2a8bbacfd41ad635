"""Baselines that a training compares its model with: their names in tags, metrics, policies and folders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Baseline:
    """A method that costs seconds, and that a trained model should beat on the same test videos."""

    name: str
    """`beats_<name>` is its tag and its gate, `<name>_auc` its AUC in the model's run in MLflow."""
    title: str
    """Its name for people."""

    @property
    def folder(self) -> str:
        """Its folder in the model's run: predictions, figures and plots, and the fitted model if it has one."""
        return self.name.replace("_", "-")

    @property
    def prefix(self) -> str:
        """Before the names of its figures in the model's run."""
        return f"{self.name}_"

    @property
    def gate(self) -> str:
        """Its tag, its gate and its setting in a policy."""
        return f"beats_{self.name}"


@dataclass(frozen=True)
class Absent:
    """Why a model is not compared with a baseline."""

    why: str
    is_excused: bool = False
    """Whether such a baseline cannot exist for the model, so that it is no hurdle."""


BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("zero_shot", "zero-shot CLIP"),
        Baseline("linear", "logistic regression"),
        Baseline("mil", "MIL ranking"),
    )
}
"""By name, in the order of tables."""

NO_TEXT_TOWER = Absent("there is no text tower", is_excused=True)
