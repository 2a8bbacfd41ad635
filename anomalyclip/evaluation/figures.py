"""The figures of a predictions table, declared once.

Results, MLflow metrics, tags, comparison, gates, report and the demo's table read `FIGURES` and `CLASS_FIGURES`; to add
a figure, add its declaration here. AUC, AP and mAUC follow the paper, section 4 ("Performance metrics"): over all
frames of all test videos, per class one against the rest, the mean over the abnormal classes that occur.
"""

from collections.abc import Callable

import numpy as np

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.declarations import ClassFigure, Estimate, Figure, Table, jackknifed
from anomalyclip.evaluation.event_figures import EVENT_FIGURES
from anomalyclip.evaluation.intervals import (
    auc_replicates,
    average_precision,
    average_precision_replicates,
    mean_replicates,
    within_video_replicates,
)
from anomalyclip.evaluation.localisation_figures import LOCALISATION_FIGURES
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, Predictions


def auc(table: Table) -> Estimate | None:
    """AUC of anomalous against normal frames or videos."""
    p = table.predictions
    return jackknifed(auc_replicates(p.scores, p.anomalous, p.offsets))


def within_auc(table: Table) -> Estimate | None:
    """Mean AUC inside the videos with both kinds of frames: knowing when, not which video."""
    p = table.predictions
    return jackknifed(within_video_replicates(p.scores, p.anomalous, p.offsets))


def video_mean_auc(table: Table) -> Estimate | None:
    """AUC after each score is replaced by the mean of its video: knowing which video, not when.

    What AUC has above it comes from within videos (arXiv 2608.21854: usually very little).
    """
    p = table.predictions
    frames = np.diff(p.offsets)
    means = np.add.reduceat(p.scores, p.offsets[:-1], dtype=np.float64) / frames
    return jackknifed(auc_replicates(np.repeat(means, frames), p.anomalous, p.offsets))


def ap(table: Table) -> Estimate | None:
    """Average precision of anomalous frames or videos."""
    p = table.predictions
    return jackknifed(average_precision_replicates(p.scores, p.anomalous, p.offsets))


def class_auc(predictions: Predictions, name: str) -> Estimate | None:
    """AUC of a class against the rest, by its probability."""
    scores, truth = predictions.probability_of(name), predictions.truth_of(name)
    return jackknifed(auc_replicates(scores, truth, predictions.offsets))


def class_ap(predictions: Predictions, name: str) -> Estimate | None:
    """Average precision of a class against the rest, by its probability."""
    scores, truth = predictions.probability_of(name), predictions.truth_of(name)
    if name != NORMAL:
        return jackknifed(average_precision_replicates(scores, truth, predictions.offsets))
    # nearly all frames are normal: leaving videos out would take longer than all other figures together
    value = average_precision(scores, truth)
    return None if value is None else Estimate(value)


def mean_of(name: str) -> Callable[[Table], Estimate | None]:
    """The mean of a class figure over the abnormal classes that occur."""

    def compute(table: Table) -> Estimate | None:
        abnormal = {of: estimate for of, estimate in table.of_class(CLASS_FIGURES[name]).items() if of != NORMAL}
        # Normal is left out, as in the paper: the mean is over the classes of anomaly
        parts = [estimate.replicates for estimate in abnormal.values() if estimate.replicates]
        return jackknifed(mean_replicates(parts), frozenset(abnormal))

    return compute


def youden(table: Table) -> Estimate | None:
    """Youden's threshold: a description of the test set, not a setting."""
    threshold = youden_threshold(table.predictions.anomalous, table.predictions.scores)
    return None if threshold is None else Estimate(threshold)


def youden_threshold(positive: BoolArray, scores: FloatArray) -> float | None:
    """The score at which true minus false positive rate is highest; None if undefined."""
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_curve  # here, since it takes a second to import

    fpr, tpr, thresholds = roc_curve(positive, scores)
    # the first point means "nothing is anomalous" and has no finite threshold.
    return float(thresholds[1:][np.argmax((tpr - fpr)[1:])])


FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("auc", "AUC", "frame", auc, headline=True),
        Figure("m_auc", "mAUC", "frame", mean_of("auc"), headline=True),
        Figure("within_auc", "within-video AUC", "frame", within_auc),
        Figure("video_mean_auc", "AUC of video means", "frame", video_mean_auc, better=None),
        Figure("ap", "AP", "frame", ap),
        Figure("m_ap", "mAP", "frame", mean_of("ap")),
        Figure("video_auc", "video AUC", "video", auc, headline=True),
        Figure("video_m_ap", "video mAP", "video", mean_of("video_ap")),
        *EVENT_FIGURES,
        *LOCALISATION_FIGURES,
        Figure("youden_threshold", "Youden's threshold", "frame", youden, better=None, summary=False, paired=False),
    )
}
"""By name, in the order of tables."""

CLASS_FIGURES: dict[str, ClassFigure] = {
    figure.name: figure
    for figure in (
        ClassFigure("auc", "AUC", "frame", class_auc, summary=True),
        ClassFigure("ap", "AP", "frame", class_ap),
        ClassFigure("video_ap", "video AP", "video", class_ap),
    )
}


def summarised() -> list[Figure]:
    """The figures in the log's summary and in results."""
    return [figure for figure in FIGURES.values() if figure.summary]


def compared() -> list[Figure]:
    """The figures in comparisons: those of the summary of which higher or lower is better."""
    return [figure for figure in FIGURES.values() if figure.summary and figure.better]


def headlines() -> list[Figure]:
    """The main figures of a model: in its version's tags and in the tables that compare it with baselines."""
    return [figure for figure in FIGURES.values() if figure.headline]


def summarised_by_class() -> list[ClassFigure]:
    """The class figures in the tables of comparisons."""
    return [figure for figure in CLASS_FIGURES.values() if figure.summary]
