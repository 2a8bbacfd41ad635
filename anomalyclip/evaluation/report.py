"""The evaluation of a model on a manifest: predictions, figures and plots in one folder."""

import json
import logging
from pathlib import Path

from anomalyclip.evaluation.metrics import Metrics, compute_metrics
from anomalyclip.evaluation.plots import save_plots
from anomalyclip.evaluation.predictions import read_predictions

log = logging.getLogger("anomalyclip")

PREDICTIONS, METRICS, PLOTS = "predictions.parquet", "metrics.json", "plots"


def write_report(folder: Path) -> Metrics:
    """Compute figures and plots from the predictions table in a folder, and put them beside it."""
    predictions = read_predictions(folder / PREDICTIONS)
    metrics = compute_metrics(predictions)
    absent = {"absent_classes": metrics.absent_classes, "unknown_classes": metrics.unknown_classes}
    (folder / METRICS).write_text(json.dumps(metrics.flat() | absent, indent=2))
    (folder / PLOTS).mkdir(exist_ok=True)
    save_plots(predictions, metrics, folder / PLOTS)
    return metrics


def log_summary(metrics: Metrics) -> None:
    """Say the figures, and which classes have none and why."""
    for name, value, interval in (
        ("AUC", metrics.auc, metrics.auc_interval),
        ("mAUC", metrics.m_auc, metrics.m_auc_interval),
        ("AP", metrics.ap, None),
        ("mAP", metrics.m_ap, None),
        ("video AUC", metrics.video_auc, None),
    ):
        bounds = f"  95 % interval {interval.low:.4f} to {interval.high:.4f}" if interval else ""
        log.info("%-10s %s%s", name, "undefined" if value is None else f"{value:.4f}", bounds)
    if metrics.absent_classes:
        log.warning(
            "classes that do not occur in the test part, left out of the means: %s", _names(metrics.absent_classes)
        )
    if metrics.unknown_classes:
        log.warning("classes unknown to the model, null and left out of the means: %s", _names(metrics.unknown_classes))


def _names(classes: tuple[str, ...]) -> str:
    return ", ".join(classes)
