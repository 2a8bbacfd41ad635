"""Figures of base classes, which a model was trained on, of novel ones, which it knows by their names, and of both.

The protocol of open-vocabulary anomaly detection (Wu et al., CVPR 2024, arXiv 2311.07042): all classes compete; figures
of a group are on its videos and the normal ones, and top-1 counts anomalous videos only.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from anomalyclip.data.labels import NORMAL
from anomalyclip.data.new_names import text_of
from anomalyclip.evaluation.declarations import Estimate, jackknifed
from anomalyclip.evaluation.intervals import Replicates, auc_replicates, mean_replicates, ratio_replicates
from anomalyclip.evaluation.metrics import frame_level
from anomalyclip.evaluation.new_classes import pooled
from anomalyclip.evaluation.predictions import BoolArray, FloatArray, Predictions

GROUPS = ("all", "base", "novel")
TITLES = {"auc": "AUC", "m_auc": "mAUC", "top1": "top-1 of anomalous videos"}


def base_novel_figures(predictions: Predictions, new: Mapping[str, FloatArray]) -> dict[str, Estimate | None]:
    """Return `<group>_auc`, `<group>_m_auc` and `<group>_top1` of every group; None if one is undefined.

    Base classes are the trained ones that occur, novel ones the new names that do; `new` are the probabilities
    `(frames,)` of the latter in all frames of the table. Videos of several labels, or of others, are left out.
    """
    located = np.repeat(predictions.known, np.diff(predictions.offsets))
    p = frame_level(predictions)
    joint = joint_probabilities(p, {name: np.asarray(column)[located] for name, column in new.items()})
    label = {text_of(name): name for name in joint}
    classes = [label.get(text_of(name)) for name in p.label_classes]
    known, novel = [name is not None for name in classes], [name in new for name in classes]
    groups = {"all": known, "novel": novel, "base": [a and not b for a, b in zip(known, novel, strict=True)]}
    return {
        f"{group}_{figure}": estimate
        for group in GROUPS
        for figure, estimate in _figures(p, joint, classes, np.array(groups[group], dtype=np.bool_)).items()
    }


def _figures(
    p: Predictions, joint: Mapping[str, FloatArray], classes: Sequence[str | None], wanted: BoolArray
) -> dict[str, Estimate | None]:
    """Return the figures on normal videos and those whose one label is wanted `(label classes,)`."""
    if not wanted.any():
        return dict.fromkeys(TITLES)
    counts, of_class = p.video_truth.sum(axis=1), p.video_truth.argmax(axis=1)
    videos = np.flatnonzero((counts == 0) | ((counts == 1) & wanted[of_class])).tolist()
    frames = np.concatenate([np.arange(p.offsets[video], p.offsets[video + 1]) for video in videos])
    group, columns = p.select(videos), {name: column[frames] for name, column in joint.items()}
    of_classes = [
        auc_replicates(columns[name], group.truth[:, place], group.offsets)
        for place, name in enumerate(classes)
        if name is not None and wanted[place]
    ]
    return {
        "auc": jackknifed(auc_replicates(group.scores, group.anomalous, group.offsets)),
        "m_auc": jackknifed(mean_replicates([each for each in of_classes if each])),
        "top1": jackknifed(_top1(group, columns, classes)),
    }


def joint_probabilities(p: Predictions, new: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the probabilities `(frames,)` of all abnormal classes, trained and new, when all compete with each other.

    Of a new class the odds against the trained ones, share / (1 - share) of p_A, are exp(z) over the sum of theirs.
    """
    scores = np.maximum(p.scores.astype(np.float64), np.finfo(np.float64).tiny)
    shares = {name: np.clip(column / scores, 0, 1 - 1e-7) for name, column in new.items()}
    odds = {name: share / (1 - share) for name, share in shares.items()}
    whole = 1 + sum(odds.values(), np.zeros(len(scores)))
    trained = {name: p.probability_of(name) / whole for name in p.classes if name != NORMAL}
    return {**trained, **{name: scores * own / whole for name, own in odds.items()}}


def _top1(p: Predictions, columns: Mapping[str, FloatArray], classes: Sequence[str | None]) -> Replicates | None:
    """Return the share of anomalous videos whose class has the highest mean over the same part of the frames."""
    names, matrix = list(columns), np.column_stack(list(columns.values()))
    of_class, is_anomalous = p.video_truth.argmax(axis=1), p.video_truth.any(axis=1)
    right = [
        names[int(pooled(matrix[p.frames_of(video)]).argmax())] == classes[of_class[video]]
        for video in range(len(p.video_ids))
    ]
    counted = np.asarray(is_anomalous, dtype=np.float64)
    return ratio_replicates(np.array(right) * counted, counted)
