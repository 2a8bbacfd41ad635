"""How a search judges trials that ended before, and what it removes; no cluster is started."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from anomalyclip.config import RunConfig
from anomalyclip.storage import Storage
from anomalyclip.tuning.engine import EPOCHS, OBJECTIVE, Draw, _asha, _optuna, _share, run_trials
from anomalyclip.tuning.space import Point, Space, log_between, one_of
from anomalyclip.tuning.trials import EndedTrial

DRAWN = Space({"training.learning_rate": log_between(1e-5, 1e-2), "model.k": one_of(1, 2, 3)}, trials=8)


TRAINING = RunConfig().training


def past(point: Point, *aucs: float) -> EndedTrial:
    rows = [{"epoch": float(n), "learning_rate": 1.0, "val/video_auc": auc, "val/loss": 1.0} for n, auc in
            enumerate(aucs)]  # fmt: skip
    return EndedTrial(point, rows)


def draw(history: list[EndedTrial]) -> Draw:
    return Draw(DRAWN, 8, history)


def point(rate: float) -> Point:
    return {"training.learning_rate": rate, "model.k": 2}


def test_the_sampler_hands_out_what_is_to_be_resumed_and_does_not_repeat_what_has_ended() -> None:
    fresh = _optuna(draw([]), [], TRAINING)
    first = [fresh.suggest(str(number)) for number in range(3)]
    ended = [past(each, 0.5, 0.6) for each in first[:2]] + [EndedTrial(point(1e-4), ())]
    resumed = _optuna(draw(ended), [first[2]], TRAINING)
    assert resumed.suggest("a") == first[2]
    drawn = [resumed.suggest(str(number)) for number in range(3)]
    assert not any(each in first for each in drawn)
    kept = resumed._ot_study.trials
    assert [trial.value for trial in kept[1:4]] == [0.6, 0.6, None]  # after what is to be resumed


def test_the_scheduler_judges_by_what_has_ended_too() -> None:
    def verdict(history: list[EndedTrial], auc: float) -> str:
        scheduler = _asha(draw(history), TRAINING)
        trial = SimpleNamespace(trial_id="new")
        scheduler.on_trial_add(None, trial)
        return str(scheduler.on_trial_result(None, trial, {EPOCHS: 5.0, OBJECTIVE: auc}))

    ended = [past(point(1e-3), 0.5, 0.6, 0.7, 0.7, auc) for auc in (0.9, 0.8, 0.7)]
    assert verdict([], 0.6) == TrialScheduler.CONTINUE
    assert verdict(ended, 0.6) == TrialScheduler.STOP
    assert verdict(ended, 0.95) == TrialScheduler.CONTINUE


def test_the_scheduler_lets_trials_end_by_themselves() -> None:
    scheduler, trial = _asha(draw([]), TRAINING), SimpleNamespace(trial_id="new")
    scheduler.on_trial_add(None, trial)
    epochs = range(1, TRAINING.epochs + 1)
    verdicts = [scheduler.on_trial_result(None, trial, {EPOCHS: epoch, OBJECTIVE: 0.5}) for epoch in epochs]
    assert set(verdicts) == {TrialScheduler.CONTINUE}


def test_what_a_driver_left_that_was_killed_after_the_last_trial_is_removed(storage: Storage) -> None:
    storage.write_json("searches/tiny/trials.json", {})
    storage.write_json("searches/tiny/ray/of-the-dead/tuner.json", {})
    study: Any = SimpleNamespace(base=SimpleNamespace(storage_root=storage.root, key="searches/tiny"))
    nobody: Any = None
    run_trials(study, [], 2, nobody)
    assert storage.list("searches/tiny") == ["trials.json"]


@pytest.mark.parametrize(("gpus", "room"), [(0, 4), (2, 2)])
def test_a_trial_has_the_same_threads_when_others_have_ended(
    gpus: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": float(gpus)})
    whole, resumed = _share(TRAINING, 3, 3, None), _share(TRAINING, 1, 3, None)
    assert (whole.concurrent_fits, resumed.concurrent_fits) == (min(3, room), 1)
    assert whole.threads == resumed.threads == 4 // min(3, room)
    assert _share(TRAINING, 1, 1, None).threads == 4, "a search of one trial has the machine"
