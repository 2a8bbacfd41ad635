"""Report of an evaluation: predictions, figures and plots in one folder, and their summary in the log."""

import json
import logging
from pathlib import Path

from anomalyclip.evaluation.comparison import Measured, measure
from anomalyclip.evaluation.figures import summarised
from anomalyclip.evaluation.metrics import Metrics
from anomalyclip.evaluation.plots import save_plots
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.tables import aligned
from anomalyclip.runs import PREDICTIONS

log = logging.getLogger("anomalyclip")

METRICS, PLOTS = "metrics.json", "plots"


def write_report(folder: Path) -> Measured:
    """Compute figures and plots from the predictions table in a folder, and write them beside it."""
    measured = measure(read_predictions(folder / PREDICTIONS))
    metrics = measured.metrics
    notes = {
        "absent_classes": metrics.absent_classes,
        "unknown_classes": metrics.unknown_classes,
        "videos_without_intervals": metrics.unlocated,
    }
    (folder / METRICS).write_text(json.dumps(metrics.flat() | notes, indent=2))
    (folder / PLOTS).mkdir(exist_ok=True)
    save_plots(measured.predictions, metrics, folder / PLOTS)
    return measured


def log_summary(metrics: Metrics) -> None:
    """Log the figures with their intervals, and which videos and classes do not count in them and why."""
    rows = [["figure", "value (95 % interval)"]]
    rows += [[figure.heading, metrics.text(figure)] for figure in summarised()]
    log.info("%d test videos, %d frames:\n\n%s\n", metrics.videos, metrics.frames, aligned(rows))
    if metrics.unlocated:
        log.warning(
            "%d of %d anomalous test videos have no frame intervals: they count in the figures of whole videos only",
            metrics.unlocated, metrics.unlocated + metrics.located,
        )  # fmt: skip
    for classes, why in (
        (metrics.absent_classes, "classes that do not occur in the test videos, left out of the means"),
        (metrics.unknown_classes, "classes that the model does not know, left out of the means"),
        (metrics.unlocated_classes, "classes without any frame interval, left out of the means over frames"),
    ):
        if classes:
            log.warning("%s: %s", why, ", ".join(classes))
