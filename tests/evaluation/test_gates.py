from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from anomalyclip.errors import UsageError
from anomalyclip.evaluation.baselines import NO_TEXT_TOWER, Absent
from anomalyclip.evaluation.gates import Gate, judge_figures
from anomalyclip.evaluation.policy import Policy, load_policy
from anomalyclip.evaluation.predictions import Digests, Predictions
from tests.predicted import in_memory

CLASSES = ("Arson", "Fighting", "Normal")
VIDEOS = tuple(f"v{number}" for number in range(12))
FRAMES = 20
BEATS = ("beats_zero_shot", "beats_linear", "beats_mil")
BASELINES = ("above_chance", *BEATS)
EXCUSED = dict.fromkeys(("zero_shot", "linear", "mil"), NO_TEXT_TOWER)


def predictions(
    quality: float, seed: int = 0, videos: int = 12, annotations: str = "a", classes: tuple[str, ...] = CLASSES,
    **of_class: float,
) -> Predictions:  # fmt: skip
    """Every third video is of Arson, of Fighting, or normal; scores are noise, and `quality` times the truth."""
    truth = np.zeros((videos, FRAMES, 2), dtype=np.bool_)
    for video in range(videos):
        if video % 3 < 2:
            truth[video, 8:16, video % 3] = True
    truth = truth.reshape(-1, 2)
    hits = np.column_stack([truth.any(axis=1), truth, ~truth.any(axis=1)]).astype(float)
    own = np.array([quality, *(of_class.get(name, quality) for name in CLASSES)])
    figures = np.random.default_rng(seed).random(hits.shape) * (1 - own) + hits * own
    kept = [1 + CLASSES.index(name) for name in classes]
    return in_memory(
        video_ids=VIDEOS[:videos],
        offsets=np.arange(videos + 1) * FRAMES,
        scores=figures[:, 0].astype(np.float32),
        probabilities=figures[:, kept].astype(np.float32),
        truth=truth,
        classes=classes,
        label_classes=("Arson", "Fighting"),
        digests=Digests("m", annotations, "b"),
    )


def policy(**sections: Any) -> Policy:
    return Policy.model_validate(sections)


def judged(
    given: Policy, candidate: Predictions, champion: Predictions | None = None, **baselines: Predictions | Absent
) -> dict[str, Gate]:
    """The gates by name; baselines that are not given are no hurdle."""
    return {gate.name: gate for gate in judge_figures(given, VIDEOS, candidate, champion, {**EXCUSED, **baselines})}


def test_the_first_model_needs_its_floors_alone() -> None:
    gates = judged(policy(), predictions(0.45))
    assert all(gate.passed for gate in gates.values())
    assert list(gates) == ["data", "auc", "m_auc", *BASELINES, "delta_auc", "delta_m_auc", "class_auc"]
    assert gates["delta_auc"].says == "there is no champion to compare with"


def test_a_floor_is_reached_from_above_and_at_it() -> None:
    value = judged(policy(), predictions(0.2))["auc"].figures["value"]
    assert isinstance(value, float)
    for floor, passed in ((value, True), (value + 1e-9, False), (0.0, True)):
        gate = judged(policy(floors={"auc": floor}), predictions(0.2))["auc"]
        assert gate.passed is passed
        assert f"AUC {value:.4f} {'≥' if passed else 'is not ≥'} {floor:.4f}" == gate.says


def test_the_lower_bound_of_the_difference_decides_not_the_difference() -> None:
    gate = judged(policy(), predictions(0.3, seed=1), predictions(0.3, seed=2))["delta_auc"]
    low, value = gate.figures["low"], gate.figures["value"]
    assert isinstance(low, float)
    assert isinstance(value, float)
    assert low < value
    for margin, passed in ((-low + 1e-6, True), (-low - 1e-6, False)):
        found = judged(policy(margins={"auc": margin}), predictions(0.3, seed=1), predictions(0.3, seed=2))
        assert found["delta_auc"].passed is passed


def test_a_model_is_as_good_as_itself_within_any_margin() -> None:
    gates = judged(policy(margins={"auc": 1e-9, "m_auc": 1e-9, "class_auc": 0}), predictions(0.4), predictions(0.4))
    assert all(gate.passed for gate in gates.values())
    gates = judged(policy(margins={"auc": 0, "m_auc": 0}), predictions(0.4), predictions(0.4))
    assert [gates[name].passed for name in ("delta_auc", "delta_m_auc")] == [False, False]


def test_no_class_may_be_worse_by_more_than_its_own_margin() -> None:
    worse, champion = predictions(0.4, Fighting=0.05), predictions(0.4)
    wide = {"auc": 1, "m_auc": 1, "class_auc": 0.02}
    gate = judged(policy(margins=wide), worse, champion)["class_auc"]
    assert not gate.passed
    assert gate.says.startswith("worse than the champion: Fighting -0.")
    assert "Arson" not in gate.says
    loss = gate.figures["Fighting"]
    assert isinstance(loss, float)
    for margin, passed in ((-loss, True), (-loss - 1e-9, False), (None, True)):
        gate = judged(policy(margins={**wide, "classes": {"Fighting": margin}}), worse, champion)["class_auc"]
        assert gate.passed is passed


def test_a_class_that_the_model_has_forgotten_fails() -> None:
    forgetful = predictions(0.4, classes=("Arson", "Normal"))
    gates = judged(policy(), forgetful, predictions(0.4))
    assert (gates["class_auc"].passed, gates["delta_m_auc"].passed) == (False, False)
    assert "Fighting is unknown to the model" in gates["class_auc"].says
    assert "the models know other classes" in gates["delta_m_auc"].says
    gates = judged(policy(margins={"auc": 1}), predictions(0.4), forgetful)  # one more is no loss
    assert (gates["class_auc"].passed, gates["delta_auc"].passed) == (True, True)


@pytest.mark.parametrize(
    "champion, says",
    [
        (predictions(0.4, videos=11), "1 only in the first: v11"),
        (predictions(0.4, annotations="other"), "the digests of these are a and other"),
    ],
)
def test_models_scored_on_other_data_are_not_compared(champion: Predictions, says: str) -> None:
    gates = judged(policy(), predictions(0.4), champion)
    assert says in gates["data"].says
    assert [name for name, gate in gates.items() if not gate.passed] == [
        "data", "delta_auc", "delta_m_auc", "class_auc",
    ]  # fmt: skip


def test_videos_of_another_manifest_fail_and_missing_ones_are_counted() -> None:
    gates = {gate.name: gate for gate in judge_figures(policy(), VIDEOS[:9], predictions(0.4), None, EXCUSED)}
    assert (gates["data"].passed, "3 videos are not in the policy's manifest" in gates["data"].says) == (False, True)
    gates = judged(policy(), predictions(0.4, videos=9))
    assert (gates["data"].passed, gates["data"].says) == (True, "9 of 12 test videos, annotations a")


def test_an_undefined_figure_passes_no_gate_but_one_that_is_not_asked_for() -> None:
    gates = judged(policy(floors={"auc": 0, "m_auc": 0}), predictions(0.4, videos=3), predictions(0.4, videos=3))
    assert gates["delta_auc"].says.endswith("has no interval: too few videos")
    assert not gates["delta_auc"].passed
    nothing = predictions(0.4)
    nothing.truth[:] = False
    gates = judged(policy(), nothing)
    undefined = "AUC undefined; set floors.auc to null to judge without it"
    assert (gates["auc"].passed, gates["auc"].says) == (False, undefined)
    off = {"floors": {"auc": None, "m_auc": None}, "margins": {"auc": None, "m_auc": None, "class_auc": None},
           "baselines": {"above_chance": False, **dict.fromkeys(BEATS)}}  # fmt: skip
    assert list(judged(policy(**off), nothing, nothing)) == ["data"]


def test_a_model_must_be_above_chance() -> None:
    gate = judged(policy(), predictions(0.4))["above_chance"]
    low = gate.figures["low"]
    assert isinstance(low, float)
    assert (gate.passed, low > 0.5, f"the lower bound {low:.4f} > 0.5" in gate.says) == (True, True, True)
    gate = judged(policy(), predictions(0.0, seed=3))["above_chance"]
    assert not gate.passed and "is not > 0.5" in gate.says
    gate = judged(policy(), predictions(0.4, videos=3))["above_chance"]
    assert not gate.passed and gate.says.endswith("has no interval: too few videos")
    assert "above_chance" not in judged(policy(baselines={"above_chance": False}), predictions(0.0))


def test_a_perfect_model_is_above_chance_although_its_figure_has_no_interval() -> None:
    perfect = predictions(1.0)
    gates = judged(policy(), perfect, zero_shot=predictions(0.3, seed=1))
    assert gates["auc"].figures["value"] == 1.0
    assert all(gates[name].passed for name in BASELINES)


@pytest.mark.parametrize("name, title", [
    ("zero_shot", "zero-shot CLIP"), ("linear", "logistic regression"), ("mil", "MIL ranking"),
])  # fmt: skip
def test_a_model_must_beat_a_baseline_by_the_bound_of_the_paired_interval(name: str, title: str) -> None:
    baseline, gate_name = {name: predictions(0.2, seed=1)}, f"beats_{name}"
    gate = judged(policy(), predictions(0.4), **baseline)[gate_name]
    low = gate.figures["low"]
    assert isinstance(low, float) and low > 0
    assert gate.passed and gate.says.startswith(f"AUC minus that of {title} +0.")
    for margin, passed in ((low - 1e-6, True), (low + 1e-6, False), (0.0, True)):
        asked = policy(baselines={gate_name: margin})
        assert judged(asked, predictions(0.4), **baseline)[gate_name].passed is passed
    gates = judged(policy(), predictions(0.2, seed=2), **baseline)
    assert [each for each in BEATS if not gates[each].passed] == [gate_name]
    assert gate_name not in judged(policy(baselines={gate_name: None}), predictions(0.2), **baseline)


def test_a_baseline_that_is_missing_fails_with_the_remedy_unless_it_cannot_exist() -> None:
    gate = judged(policy(), predictions(0.4))["beats_zero_shot"]
    assert (gate.passed, gate.says) == (True, "not compared with zero-shot CLIP: there is no text tower")
    gate = judged(policy(), predictions(0.4), linear=Absent("train again"))["beats_linear"]
    remedy = "train again, or set baselines.beats_linear to null to judge without it"
    assert (gate.passed, gate.says) == (False, f"not compared with logistic regression: {remedy}")


def test_a_baseline_on_other_videos_is_no_comparison() -> None:
    gates = judged(policy(), predictions(0.4), mil=predictions(0.2, videos=11))
    assert not gates["beats_mil"].passed
    assert "1 only in the first: v11 (first: the candidate, second: MIL ranking)" in gates["beats_mil"].says
    assert gates["above_chance"].passed


def test_test_videos_without_intervals_are_judged_by_video_figures() -> None:
    def unlocated(table: Predictions) -> Predictions:
        return replace(table, truth=np.zeros_like(table.truth), known=~table.video_truth.any(axis=1))

    asked = policy(
        floors={"auc": None, "m_auc": None, "video_auc": 0.8},
        margins={"auc": None, "m_auc": None, "class_auc": None, "video_auc": 0.1, "video_m_ap": 0.9},
    )
    good = unlocated(predictions(0.45, 1))
    worse = replace(good, scores=1 - good.scores)
    gates = judged(asked, good, worse, zero_shot=worse)
    assert list(gates) == ["data", "video_auc", *BASELINES, "delta_video_auc", "delta_video_m_ap"]
    assert all(gate.passed for gate in gates.values())
    assert gates["above_chance"].says.startswith("video AUC ")
    assert gates["beats_zero_shot"].says.startswith("video AUC minus that of zero-shot CLIP")
    gates = judged(policy(), good, worse)
    undefined = "AUC undefined: no test video has frame intervals; set floors.auc to null to judge without it"
    assert gates["auc"].says == undefined
    assert not gates["auc"].passed and not gates["delta_auc"].passed
    assert not judged(asked, good, predictions(0.05, 2))["data"].passed  # known here, unknown there


def test_paths_of_a_policy_are_relative_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"evaluation": {"manifest": "videos/m.csv"}, "smoke": {"video": "/a.mp4"}}))
    found = load_policy(file)
    assert (found.evaluation.manifest, found.smoke.video) == (tmp_path / "videos/m.csv", Path("/a.mp4"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("floors: {auk: 1}", "unknown setting floors.auk; did you mean floors.auc"),
        ("margins: {class_auk: 1}", "unknown setting margins.class_auk; did you mean margins.class_auc"),
        ("baselines: {beats_zero: 1}", "unknown setting baselines.beats_zero; did you mean baselines.beats_zero_shot"),
        ("margin: {auc: 1}", "unknown setting margin.auc; did you mean margins.auc"),
        ("margins: {auc: -1}", "margins.auc: Input should be greater than or equal to 0"),
        ("margins: {classes: {Arson: many}}", "margins.classes.Arson"),
        ("- floors", "expected sections of settings"),
        ("floors: {", "is not readable YAML"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        load_policy(tmp_path / "policy.yaml")
    with pytest.raises(UsageError, match="does not exist"):
        load_policy(tmp_path / "none.yaml")
