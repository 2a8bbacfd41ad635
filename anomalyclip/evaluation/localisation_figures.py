"""The figures of temporal localisation, declared once; `figures.py` joins them with the others.

They are undefined if no class of the model has a true segment.
"""

from typing import NamedTuple

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.declarations import Estimate, Figure, Table
from anomalyclip.evaluation.localisation import IOUS, proposals, standard, vadclip
from anomalyclip.events.detection import DoubleArray


class Localisation(NamedTuple):
    """mAP at each temporal IoU of IOUS."""

    vadclip: DoubleArray
    """As VadCLIP's evaluation prints it for UCF-Crime, faults included."""
    standard: DoubleArray
    """As ActivityNet's would."""


def localised(table: Table) -> Localisation | None:
    """Return both of a table of frames, to be kept in it; None if no class of the model has a true segment."""
    p = table.predictions
    if not any(name != NORMAL and p.truth_of(name).any() for name in p.classes):
        return None
    found = [proposals(p.probability_of(name), p.offsets) for name in p.classes]
    return Localisation(vadclip(p, found, as_published=True), standard(p, found))


def _figures(kind: str, title: str) -> list[Figure]:
    """The mean over all temporal IoUs, and mAP at each."""

    def figure(name: str, shown: str, places: slice, summary: bool = False) -> Figure:
        def compute(table: Table) -> Estimate | None:
            found = table.once(localised)
            return None if found is None else Estimate(float(getattr(found, kind)[places].mean()))

        return Figure(name, f"mAP@IoU {shown}, {title}", "frame", compute, summary=summary, paired=False)

    name = f"{kind}_m_ap"
    mean = figure(name, f"{IOUS[0]} to {IOUS[-1]}", slice(None), summary=True)
    return [mean, *(figure(f"{name}_iou{iou * 100:.0f}", f"{iou}", slice(at, at + 1)) for at, iou in enumerate(IOUS))]


LOCALISATION_FIGURES = (*_figures("vadclip", "as published"), *_figures("standard", "ActivityNet's"))
"""In the order of tables."""
