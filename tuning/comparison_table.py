"""The comparison of the paper's Tables 1 and 2: the method beside its competitors, all on the same stored features."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.comparison import Measured, mean_differences
from anomalyclip.evaluation.metrics import frame_level
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.scoring import Scorer
from anomalyclip.evaluation.tables import markdown
from anomalyclip.job import Job
from anomalyclip.jobs.baselines import score_baseline
from anomalyclip.jobs.candidates import zero_shot_scorer
from anomalyclip.jobs.features import Extracted
from anomalyclip.jobs.training import Training, feature_dim
from anomalyclip.methods import METHODS
from anomalyclip.tracking.runs import TrackedRun
from anomalyclip.training.sampling import steps_per_epoch
from anomalyclip.training.setup import build_model
from anomalyclip.tuning.ablation_tables import COMPARED, SEED, RowFigures, figure_text, our_cells, published_cells
from anomalyclip.tuning.space import Point, with_point

STEPS = 3000
"""Least number of steps of every competitor; the authors' numbers are between 1,250 (VadCLIP) and 20,000 (Sultani)."""
OURS, ZERO_SHOT = "anomalyclip", "zero-shot"
FIRST_SEEDS = {"ssrl": 10}
"""Of methods whose authors' seed is part of their definition."""


class Row(NamedTuple):
    """A method, its figures on UCF-Crime as published, and how ours differs from it."""

    name: str
    auc: float | None
    m_auc: float | None
    note: str

    @property
    def title(self) -> str:
        """As it stands in the table."""
        return METHODS[self.name].title if self.name in METHODS else "zero-shot CLIP"


ROWS = (
    Row("sultani", 77.92, None, "no classes, p_A / C for each; published with I3D (75.41 with C3D)"),
    Row("rtfm", 84.03, 84.86, "class head trained beside the base, without a gradient into it, not after it; margin "
        "scaled to these features"),
    Row("s3r", 85.99, 86.55, "as RTFM; dictionary of the means of the normal training videos"),
    Row("ssrl", 87.43, 88.88, "RTFM from seed 10: the later stages need features of regions, which are not stored"),
    Row("actionclip", 82.30, 87.72, "image tower frozen, one prompt per class"),
    Row(ZERO_SHOT, 58.63, 74.28, "without training, so one figure"),
    Row("vadclip", 88.02, None, "32 segments of a clip instead of up to 256 snippets"),
    Row(OURS, 86.36, 90.66, "the given settings"),
)  # fmt: skip

NOTE = (
    "AUC and mAUC in per cent on the test videos: mean ± standard deviation over {count} seeds (from {seed}; SSRL from "
    "10). Floor is the mAUC of p_A / C, which knows no class: what a class head adds is mAUC minus floor. Δ is the "
    "difference of the means to AnomalyCLIP, with its 95 % interval over test videos (jackknife, paired by video, for "
    "these seeds). The last two columns are published figures on UCF-Crime, on other features and chosen on test. "
    "Every competitor trained for at least {steps} steps with its authors' loss and optimiser, on AnomalyCLIP's clips "
    "and windows."
)


class ComparisonTable:
    """The rows of the comparison, and its table."""

    full = OURS
    settings = ("method",)
    content: ClassVar[Mapping[str, Any]] = {"table": "comparison"}
    floors = True

    def points(self, job: Job, prepared: Training, seeds: int) -> dict[str, list[Point]]:
        """Return the points of every row that these features allow, by its name: one per seed."""
        absent = left_out(job, prepared)
        trained = [row.name for row in ROWS if row.name in METHODS and row.name not in absent]
        return {name: _points(name, job, prepared, seeds) for name in trained}

    def untrained(
        self, tracking: TrackedRun, job: Job, prepared: Training, extracted: Extracted, full: Sequence[Predictions]
    ) -> dict[str, RowFigures]:
        """Score the test videos with zero-shot CLIP; nothing without a text tower."""
        scorer = _zero_shot(job, prepared)
        if isinstance(scorer, str):
            return {}
        asked = BASELINES["zero_shot"]
        measured = score_baseline(tracking, prepared.run, prepared.source, extracted, asked, lambda _: scorer)
        assert isinstance(measured, Measured)
        found, figures = measured.predictions, measured.metrics.flat()
        row = RowFigures(
            auc=[figures.get("auc")],
            m_auc=[figures.get("m_auc")],
            difference=mean_differences(COMPARED, [found], full),
            floor=[floor_of(found)],
        )
        return {ZERO_SHOT: row}

    def texts(
        self, job: Job, prepared: Training, results: Mapping[str, RowFigures], seeds: Sequence[int]
    ) -> dict[str, str]:
        """Return the table, with what every row differs in from the original, and which rows are left out."""
        heading = ["Method", "AUC", "mAUC", "floor", "ΔAUC", "ΔmAUC", "published AUC", "published mAUC"]
        shown = [row for row in ROWS if row.name in results]
        lines = [_line(row, results[row.name]) for row in shown]
        note = NOTE.format(count=len(seeds), seed=seeds[0], steps=STEPS)
        notes = [f"- {row.title}: {row.note}." for row in shown]
        absent = [f"- left out: {reason}." for reason in left_out(job, prepared).values()]
        title = "### Comparison. Methods on the same features (the paper's Tables 1 and 2)"
        text = f"{title}\n\n{markdown([heading, *lines], left=1)}\n\n{note}\n\n" + "\n".join([*notes, *absent]) + "\n"
        return {"comparison": text}


def left_out(job: Job, prepared: Training) -> dict[str, str]:
    """Return why rows are left out, by their names: these features have no text that they need."""
    absent = {}
    for row in ROWS:
        try:
            if row.name in METHODS:
                config = with_point(prepared.plan.config, {"model.method": row.name})
                prototype = torch.zeros(feature_dim(job, prepared.backbone))
                build_model(prepared.plan.classes, prepared.backbone, prototype, config)
        except UsageError as error:
            absent[row.name] = str(error)
    reason = _zero_shot(job, prepared)
    return absent | ({ZERO_SHOT: reason} if isinstance(reason, str) else {})


def floor_of(predictions: Predictions) -> float | None:
    """Return the mAUC of p_A / C: the mean AUC of p_A over the abnormal classes that occur."""
    from sklearn.metrics import roc_auc_score  # here, since it takes a second to import

    known = frame_level(predictions)
    truths = [known.truth_of(name) for name in known.classes if name != NORMAL]
    areas = [roc_auc_score(truth, known.scores) for truth in truths if truth.any() and not truth.all()]
    return float(np.mean(areas)) if areas else None


def _points(name: str, job: Job, prepared: Training, seeds: int) -> list[Point]:
    first = FIRST_SEEDS.get(name, job.config.training.seed)
    fixed: dict[str, Any] = {"model.method": name}
    if name != OURS:
        training = prepared.plan.config.training
        epochs = math.ceil(STEPS / steps_per_epoch(prepared.plan.bags("train"), training))
        fixed["training.epochs"] = max(training.warmup_epochs + 1, epochs)
    return [{**fixed, SEED: seed} for seed in range(first, first + seeds)]


def _zero_shot(job: Job, prepared: Training) -> Scorer | str:
    """Return zero-shot CLIP, or why there is none."""
    if prepared.backbone is None:
        return "zero-shot CLIP compares features with texts, but there is no text tower"
    try:
        return zero_shot_scorer(prepared.backbone, prepared.plan.classes, job.config.extraction.sampling_rate)
    except UsageError as error:
        return f"zero-shot CLIP: {error}"


def _line(row: Row, result: RowFigures) -> list[str]:
    auc, m_auc, *differences = our_cells(result)
    published = published_cells(row.auc, row.m_auc)
    return [row.title, auc, m_auc, figure_text(result.floor), *differences, *published]
