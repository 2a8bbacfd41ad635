"""Classes that nobody trained, asked for by their names: checked against a model before any work."""

import logging
from collections.abc import Sequence
from pathlib import Path

from anomalyclip.data.new_names import refuse_known
from anomalyclip.errors import UsageError
from anomalyclip.job import Job
from anomalyclip.jobs.candidates import Candidate, model_backbone
from anomalyclip.methods import NewNames, load_with_names
from anomalyclip.model.bundle import load_card, load_tensors
from anomalyclip.model.new_classes import why_no_names

log = logging.getLogger("anomalyclip")


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
