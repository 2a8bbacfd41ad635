"""A study and its trials: many fits that differ in a few settings, each with one folder of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import polars as pl

from anomalyclip.runs import CHECKPOINTS, FINAL, RunFolder, open_run, result_settings
from anomalyclip.storage import Storage
from anomalyclip.training.adaptation import adapt
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.plan import plan_training
from anomalyclip.tuning.space import Point, describe, with_point

State = Literal["finished", "stopped early", "failed"]
LONGEST_DESCRIPTION = 4
"""Number of values up to which they make a trial's name."""


@dataclass(frozen=True)
class TrialResult:
    """Result of a finished trial."""

    history: Sequence[EpochMetrics]
    figures: Mapping[str, float]
    """Of its scoring."""


@dataclass(frozen=True)
class Trial:
    """One fit of a study."""

    point: Point
    name: str
    tags: Mapping[str, str]
    folder: RunFolder
    plan: FitPlan

    def result(self) -> TrialResult | None:
        """Return the result of a trial that was trained to the end, None for others."""
        return self.folder.result(TrialResult)

    def history(self) -> list[EpochMetrics]:
        """Return the metrics of every epoch so far; they outlive the checkpoints of a finished trial."""
        kept = self.result()
        return list(kept.history) if kept else self.plan.checkpoints().history()

    def last_fit(self, epoch: int) -> FitPlan:
        """Return the fit whose checkpoint of the chosen epoch counts: the one on all training videos, if asked for."""
        if self.plan.validation and self.plan.config.training.final_fit:
            return self.plan.final(epoch + 1)
        return self.plan

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of all its fits."""
        for fits in (CHECKPOINTS, FINAL):
            self.folder.storage.delete(self.folder.part(fits))


class Scoring(Protocol):
    """The scoring of a trial, done once after its fits, in its process."""

    def __call__(self, trial: Trial, epoch: int) -> dict[str, float]:
        """Publish scores of the model of the chosen epoch in the trial's folder; returns figures to keep."""


@dataclass(frozen=True)
class Study:
    """All that the trials of a search or an ablation share; small enough for every process of the cluster."""

    base: FitPlan
    """The fit with the job's own configuration; its key is the job's folder."""
    manifest: pl.DataFrame
    """Counted; each trial plans its own parts of it, which depend on its seed."""
    content: Mapping[str, Any]
    """Everything besides its settings that decides a trial's result: manifest, backbone, features."""
    folder: str
    """Key of the folder that holds the trials' folders."""
    scoring: Scoring
    labels: Callable[[Point], Mapping[str, str]] | None = None
    """Tags of a trial, which make its name; None names trials by their values."""
    threads: int | None = None
    """Threads per trial; None divides those of the machine."""

    def trial(self, point: Point) -> Trial:
        """Return the trial of a point, its folder opened. The folder is named by all that decides the result."""
        config = with_point(self.base.config, point)
        tags = dict(self.labels(point)) if self.labels else {}
        name = "-".join(tags.values())
        parts = plan_training(self.manifest, config)
        # what depends on lengths was chosen for the study; what one choice makes of others is for each trial
        parts = replace(parts, config=adapt(parts.config, parts.bags("train"), ())[0])
        content = {**self.content, **result_settings(parts.config)}
        storage = Storage(self.base.storage_root)
        folder = open_run(storage, self.folder, None, name or "trial", content)
        plan = replace(
            self.base, config=parts.config, key=folder.key, train=parts.bags("train"), validation=parts.bags("val")
        )
        if not name:
            name = describe(point) if len(point) <= LONGEST_DESCRIPTION else folder.name
        return Trial(point, name, tags or {"trial": folder.name}, folder, plan)


@dataclass(frozen=True)
class Outcome:
    """State, epochs and figures of a trial that is over."""

    key: str
    """Name of its folder."""
    name: str
    point: Point
    state: State
    epochs: int
    """Number of epochs that it trained."""
    figures: Mapping[str, float]
    """`best_epoch`, and, if there is a validation part, `best_video_auc` and `best_loss`; figures of the scoring.
    Empty if no epoch was trained."""
    reason: str | None = None
    """Why it failed."""

    @property
    def auc(self) -> float | None:
        """The objective of a search: video-level AUC on the validation part at the best epoch."""
        return self.figures.get("best_video_auc")


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended before: what was tried, and the metrics of its epochs, none if it failed."""

    point: Point
    history: Sequence[EpochMetrics]
