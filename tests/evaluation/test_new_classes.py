import numpy as np
import pytest

from anomalyclip.evaluation.base_novel import base_novel_figures, joint_probabilities
from anomalyclip.evaluation.new_classes import FIGURES, new_class_figures
from anomalyclip.evaluation.predictions import Digests, FloatArray, Predictions

CLASSES = ("Arson", "Fighting", "Normal")
LABELS = ("Arson", "Fighting", "Person_falling")
FRAMES = 40
OF_VIDEOS = (0, 1, 2, None) * 3
"""Label of each video; the middle half of an anomalous one is anomalous."""


def table() -> Predictions:
    """Scores 0.8 in anomalies and 0.2 elsewhere, with noise; a trained class's own anomalies have it in full."""
    noise = np.random.default_rng(0)
    count = len(OF_VIDEOS)
    truth = np.zeros((count, FRAMES, len(LABELS)), dtype=bool)
    for video, label in enumerate(OF_VIDEOS):
        if label is not None:
            truth[video, 10:30, label] = True
    truth = truth.reshape(-1, len(LABELS))
    scores = np.where(truth.any(axis=1), 0.8, 0.2) + noise.uniform(-0.05, 0.05, len(truth))
    own = np.where(truth[:, 0], 0.9, np.where(truth[:, 1], 0.1, 0.5))
    probabilities = np.stack([scores * own, scores * (1 - own), 1 - scores], axis=1)
    of_videos = np.array([[label == place for place in range(len(LABELS))] for label in OF_VIDEOS])
    return Predictions(
        tuple(map(str, range(count))), np.arange(count + 1) * FRAMES, scores, probabilities, truth, of_videos,
        np.ones(count, dtype=bool), CLASSES, LABELS, Digests("", "", ""), 16,
    )  # fmt: skip


def shares(p: Predictions, own: float, other: float) -> FloatArray:
    """Probabilities of a new class that takes these shares of p_A in its own anomalies and in all else."""
    noise = np.random.default_rng(1).uniform(-0.01, 0.01, len(p.scores))
    share = np.where(p.truth[:, 2], own, other) + noise
    probability: FloatArray = p.scores * share
    return probability


def test_a_name_that_the_model_answers_to() -> None:
    p = table()
    (found,) = new_class_figures(p, {"person falling": shares(p, 0.7, 0.05)})
    values = {name: estimate and estimate.value for name in FIGURES if (estimate := getattr(found, name))}
    assert values == {
        "auc": 1.0, "answer": 1.0, "top1": 1.0, "elsewhere": 0.0,
        "share": pytest.approx(0.7, abs=0.01), "share_elsewhere": pytest.approx(0.05, abs=0.01),
    }  # fmt: skip
    assert not found.is_ignored


def test_a_model_that_ignores_the_name_is_seen() -> None:
    """It still has a good AUC, for p_A alone tells anomalies from normal frames."""
    p = table()
    (found,) = new_class_figures(p, {"person falling": shares(p, 0.3, 0.3)})
    assert found.auc is not None and found.auc.value > 0.8
    assert found.answer is not None and found.answer.value == pytest.approx(0.5, abs=0.1)
    assert found.is_ignored


def test_of_a_name_that_does_not_occur_only_false_names_are_known() -> None:
    p = table()
    (found,) = new_class_figures(p, {"dog": shares(p, 0.9, 0.9)})
    assert (found.auc, found.answer, found.top1, found.share) == (None, None, None, None)
    assert found.elsewhere is not None and found.elsewhere.value == 1
    assert found.share_elsewhere is not None and found.share_elsewhere.value == pytest.approx(0.9, abs=0.01)
    assert found.texts()[0] == "undefined" and found.values()["auc"] is None
    assert not found.is_ignored


def test_all_classes_together_share_the_anomaly_probability() -> None:
    p = table()
    new = {"person falling": shares(p, 0.7, 0.05), "dog": shares(p, 0.1, 0.1)}
    joint = joint_probabilities(p, new)
    assert list(joint) == ["Arson", "Fighting", "person falling", "dog"]
    assert np.allclose(sum(joint.values()), p.scores)
    odds = new["dog"] / (p.scores - new["dog"])
    assert np.allclose(joint["dog"] / (joint["Arson"] + joint["Fighting"]), odds)


def test_groups_of_classes_have_their_own_videos_and_the_normal_ones() -> None:
    p = table()
    found = base_novel_figures(p, {"person falling": shares(p, 0.1, 0.1), "dog": shares(p, 0.02, 0.02)})
    values = {name: estimate and estimate.value for name, estimate in found.items()}
    assert values["all_auc"] == values["base_auc"] == values["novel_auc"] == 1
    assert (values["base_top1"], values["novel_top1"], values["all_top1"]) == (1, 0, pytest.approx(6 / 9))
    assert values["base_m_auc"] == 1


def test_without_a_new_name_that_occurs_there_are_no_novel_figures() -> None:
    p = table()
    found = base_novel_figures(p, {"dog": shares(p, 0.1, 0.1)})
    assert (found["novel_auc"], found["novel_m_auc"], found["novel_top1"]) == (None, None, None)
    base, everything = found["base_auc"], found["all_auc"]
    assert base is not None and everything is not None and base.value == everything.value
