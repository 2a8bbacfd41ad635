"""Detection and recognition figures, computed from a predictions table alone.

AUC, AP and mAUC follow the paper, section 4 ("Performance metrics"): over all frames of all test videos,
per class one against the rest, the mean taken over the abnormal classes that occur.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anomalyclip.data.labels import NORMAL
from anomalyclip.evaluation.intervals import (
    Interval,
    auc_replicates,
    class_replicates,
    logit_interval,
    mean_replicates,
)
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, Predictions


@dataclass(frozen=True)
class Metrics:
    """All figures of one predictions table; None where a figure is undefined.

    `class_auc` and `class_ap` have an entry for every class of the model and every class that only the
    truth knows. `absent_classes` are the model's abnormal classes that do not occur in the truth,
    `unknown_classes` those of the truth that the model does not know: both are null and not in the means.
    """

    auc: float | None
    ap: float | None
    m_auc: float | None
    m_ap: float | None
    video_auc: float | None
    youden_threshold: float | None
    auc_interval: Interval | None
    m_auc_interval: Interval | None
    class_auc: dict[str, float | None]
    class_ap: dict[str, float | None]
    absent_classes: tuple[str, ...]
    unknown_classes: tuple[str, ...]

    def flat(self) -> dict[str, float]:
        """The defined figures under the names that they have in a tracking server, such as `auc/Abuse`."""
        single = ("auc", "ap", "m_auc", "m_ap", "video_auc", "youden_threshold")
        figures: dict[str, float | None] = {name: getattr(self, name) for name in single}
        for name, interval in (("auc", self.auc_interval), ("m_auc", self.m_auc_interval)):
            if interval is not None:
                figures |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        keys = _metric_keys(list(self.class_auc))
        for kind, of_class in (("auc", self.class_auc), ("ap", self.class_ap)):
            figures |= {f"{kind}/{keys[name]}": value for name, value in of_class.items()}
        return {name: value for name, value in figures.items() if value is not None}


def compute_metrics(predictions: Predictions) -> Metrics:
    """All figures of a predictions table, with the intervals of AUC and mAUC."""
    anomalous = predictions.anomalous
    overall = auc_replicates(predictions.scores, anomalous, predictions.offsets)
    of_class = class_replicates(predictions)
    mean = mean_replicates(of_class)
    unknown = tuple(name for name in predictions.label_classes if name not in predictions.classes)
    names = predictions.classes + unknown
    class_ap = {name: _class_ap(predictions, name) for name in names}
    abnormal_ap = [ap for name, ap in class_ap.items() if name != NORMAL and ap is not None]
    return Metrics(
        auc=overall.point if overall else None,
        ap=_average_precision(anomalous, predictions.scores),
        m_auc=mean.point if mean else None,
        m_ap=float(np.mean(abnormal_ap)) if abnormal_ap else None,
        video_auc=_video_auc(predictions),
        youden_threshold=youden_threshold(anomalous, predictions.scores),
        auc_interval=logit_interval(overall),
        m_auc_interval=logit_interval(mean),
        class_auc={name: of_class[name].point if name in of_class else None for name in names},
        class_ap=class_ap,
        absent_classes=tuple(name for name in predictions.classes if name not in (NORMAL, *predictions.label_classes)),
        unknown_classes=unknown,
    )


def video_score(scores: npt.NDArray[np.floating], segment_frames: int = 16, top: int = 3) -> float:
    """One score for a video: the mean of its `top` highest segment scores.

    `scores` is (frames,); a segment's score is the mean over its `segment_frames` consecutive frames, the
    last one's over what is left. A video of fewer segments takes all it has. Raises ValueError without
    frames.
    """
    if len(scores) == 0:
        raise ValueError("a video without frames has no score")
    starts = np.arange(0, len(scores), segment_frames)
    sizes = np.diff(np.append(starts, len(scores)))
    segments = np.add.reduceat(scores, starts, dtype=np.float64) / sizes
    return float(np.sort(segments)[-top:].mean())


def youden_threshold(positive: BoolArray, scores: FloatArray) -> float | None:
    """The score at which true minus false positive rate is highest; None if undefined."""
    if positive.all() or not positive.any():
        return None
    fpr, tpr, thresholds = roc_curve(positive, scores)
    # The first point stands for "nothing is anomalous" and has no finite threshold.
    return float(thresholds[1:][np.argmax((tpr - fpr)[1:])])


def _video_auc(predictions: Predictions) -> float | None:
    videos = [predictions.frames_of(i) for i in range(len(predictions.video_ids))]
    anomalous = predictions.anomalous
    truth = np.array([anomalous[frames].any() for frames in videos])
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, [video_score(predictions.scores[frames]) for frames in videos]))


def _class_ap(predictions: Predictions, name: str) -> float | None:
    if name not in predictions.classes:
        return None
    scores = predictions.probabilities[:, predictions.classes.index(name)]
    return _average_precision(predictions.truth_of(name), scores)


def _average_precision(positive: BoolArray, scores: FloatArray) -> float | None:
    if positive.all() or not positive.any():
        return None
    return float(average_precision_score(positive, scores))


def _metric_keys(names: list[str]) -> dict[str, str]:
    """A distinct metric name for every class, of the characters that tracking servers accept."""
    keys: dict[str, str] = {}
    for name in names:
        key = base = re.sub(r"[^A-Za-z0-9_\-. ]|^\.+$", "_", name)
        number = 1
        while key in keys.values():
            number += 1
            key = f"{base}_{number}"
        keys[name] = key
    return keys
