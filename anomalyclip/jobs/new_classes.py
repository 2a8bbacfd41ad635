"""Classes that nobody trained, asked for by their names: checked against a model before any work."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyclip.data.new_names import refuse_known
from anomalyclip.errors import UsageError
from anomalyclip.evaluation.base_novel import GROUPS, TITLES, base_novel_figures
from anomalyclip.evaluation.declarations import Estimate
from anomalyclip.evaluation.new_classes import FIGURES, estimate_values, new_class_figures
from anomalyclip.evaluation.new_table import NEW_TABLE, read_new_table
from anomalyclip.evaluation.predictions import Predictions
from anomalyclip.evaluation.tables import aligned
from anomalyclip.evaluation.text import UNDEFINED, value_text
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, model_backbone
from anomalyclip.methods import NewNames, load_with_names
from anomalyclip.model.bundle import load_card, load_tensors
from anomalyclip.model.new_classes import why_no_names
from anomalyclip.tracking.tags import MOST_OF_RUN, fitting_json

if TYPE_CHECKING:
    from anomalyclip.tracking.runs import TrackedRun

log = logging.getLogger("anomalyclip")

NEW_FIGURES = "new_classes.json"
"""File of an evaluation: the figures of new classes."""


def new_names(job: Job, candidate: Candidate, names: Sequence[str]) -> NewNames | None:
    """Return the classes that a trained model shall recognise by their names, None without any.

    Logs a warning for each name that is close to a trained class. Raises UsageError if a name is that of a trained
    class, or the model cannot read names.
    """
    if not names:
        return None
    bundle = candidate.scorer
    assert isinstance(bundle, Path)
    card = load_card(bundle)
    refuse_known(names, card.classes)
    if (reason := why_no_names(load_tensors(bundle), card.model)) is not None:
        raise UsageError(f"--classes: {reason}")
    new = NewNames(tuple(names), candidate.backbone or model_backbone(job, card))
    for near in load_with_names(bundle, new)[2]:
        log.warning(
            "--classes: %s is close to the trained class %s (cosine %.2f, more than between any two trained classes): "
            "expect it wherever %s is", near.name, near.trained, near.cosine, near.trained,
        )  # fmt: skip
    return new


def report_new(
    tracking: "TrackedRun", folder: Path, names: Sequence[str], predictions: Predictions, dataset: str
) -> None:
    """Write the figures of new classes beside their table in an evaluation's folder, log them, and tag the run."""
    table = read_new_table(folder / NEW_TABLE, names)
    found, groups = new_class_figures(predictions, table), base_novel_figures(predictions, table)
    values = {each.name: each.values() for each in found}
    of_groups = {name: estimate_values(estimate) for name, estimate in groups.items()}
    (folder / NEW_FIGURES).write_text(json.dumps({"classes": values, "groups": of_groups}, indent=2))
    tracking.log_metrics({f"open/{name}": estimate.value for name, estimate in groups.items() if estimate})
    rows = [["new class", *FIGURES.values()], *([each.name, *each.texts()] for each in found)]
    log.info("new classes, by their names alone:\n\n%s\n", aligned(rows))
    if any(each.auc for each in found):
        text = [[group, *(_text(groups[f"{group}_{name}"]) for name in TITLES)] for group in GROUPS]
        log.info("trained and new classes together:\n\n%s\n", aligned([["classes", *TITLES.values()], *text]))
    for each in found:
        if each.is_ignored:
            log.warning(
                "%s: the model may ignore the name: by it, its frames are not surely told from other anomalies",
                each.name,
            )
        if each.auc is None:
            log.warning("%s does not occur in the test videos: only its false names are known", each.name)
    brief = {name: _brief(of_name, dataset) for name, of_name in values.items()}
    tracking.log_tags({"new_classes": fitting_json(brief, MOST_OF_RUN)})


def _text(estimate: Estimate | None) -> str:
    return value_text(estimate.value, estimate.interval) if estimate else UNDEFINED


def _brief(values: dict[str, Any], dataset: str) -> dict[str, Any]:
    """Return the figures without their intervals but that of the AUC, rounded, for a tag."""
    brief = {name: round(found["value"], 4) for name, found in values.items() if found}
    auc = values["auc"] or {}
    ends = {f"auc_{end}": round(auc[end], 4) for end in ("low", "high") if auc.get(end) is not None}
    return {"dataset": dataset, **brief, **ends}
