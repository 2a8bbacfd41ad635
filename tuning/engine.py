"""Trial engine on Ray Tune, around `fit`: as many trials at a time as the cluster holds, each in its own process."""

import gc
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
import ray
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from anomalyclip import cluster
from anomalyclip.config import EpochChoice, TrainingConfig
from anomalyclip.device import resolve_device
from anomalyclip.storage import Storage
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.validation import AUC, best_epoch
from anomalyclip.tuning.space import Between, OneOf, Point, Space
from anomalyclip.tuning.trials import EndedTrial, Study, Trial, TrialResult

OBJECTIVE, EPOCHS, FAILURE = "best_video_auc", "epochs", "failure"
"""Reports of a trial: the highest validation AUC so far, the number of epochs so far, or why it failed."""
POLL_SECONDS = 2.0
KEPT_PART = 3
"""ASHA's reduction factor: one of this many trials continues at a rung, and the next rung is this many times later."""
_LISTED = "listed point"
"""In Ray Tune's configuration of a trial that was not drawn: its point."""


@dataclass(frozen=True)
class Draw:
    """Trials drawn by Optuna and stopped early by ASHA; both use the results of finished trials too."""

    space: Space
    number: int
    """Number of new trials."""
    past: Sequence[EndedTrial]


class Follower(Protocol):
    """Receives, in the driver's process, how trials are doing."""

    def started(self, point: Point) -> None:
        """A trial starts, or starts again because its process was lost."""

    def look(self) -> None:
        """Look for new checkpoints; called every few seconds."""

    def ended(self, point: Point) -> None:
        """A trial was trained to the end, or the scheduler stopped it."""

    def failed(self, point: Point, reason: str) -> None:
        """A trial failed, with the reason in one line."""


def run_trials(study: Study, points: Sequence[Point], total: int, follower: Follower, draw: Draw | None = None) -> None:
    """Run the trials of the points, in this order, and those to draw, until all have ended.

    `total` counts the study's trials, those that ended before too.
    A trial whose process is lost resumes from its last checkpoint, as often as the configuration allows; an error is
    its result. Without `draw` no trial is stopped early. An interrupt ends the trials that still run.
    """
    number = len(points) + (draw.number if draw else 0)
    storage = Storage(study.base.storage_root)
    ray_folder = f"{study.base.key}/ray"
    if not number:
        storage.delete(ray_folder)  # left by a driver that was killed after the last trial
        return
    _quieten()
    training = study.base.config.training
    share = _share(training, number, total, study.threads)
    trainable = tune.with_parameters(_train, study=study, share=share)
    tuner = tune.Tuner(
        tune.with_resources(trainable, share.resources),
        param_space={} if draw else {_LISTED: tune.grid_search(list(points))},
        tune_config=tune.TuneConfig(
            search_alg=_optuna(draw, points, training) if draw else None,
            scheduler=_asha(draw, training) if draw else None,
            num_samples=number if draw else 1,
            max_concurrent_trials=share.concurrent_fits,
            reuse_actors=True,  # libraries take seconds to import
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex,  # a new name: trials resume from their own checkpoints, not from Ray's
            storage_path=storage.path(ray_folder),
            storage_filesystem=storage.filesystem,
            callbacks=[_Messenger(follower)],
            failure_config=tune.FailureConfig(max_failures=training.max_failures),
            verbose=0,
        ),
    )
    interrupted = False
    try:
        tuner.fit()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        storage.delete(ray_folder)
    if interrupted:  # outside the handler, whose traceback holds Ray Tune's loop and with it the trials' processes
        del tuner
        gc.collect()  # ends them: Ray ends a process that nothing refers to
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _Share:
    """One trial's share of the cluster."""

    concurrent_fits: int
    resources: Mapping[str, float]
    threads: int


def _share(training: TrainingConfig, trials: int, total: int, threads: int | None) -> _Share:
    """Divide the cluster: one GPU per trial if there are any, else at least one CPU.

    A trial has as many threads as if all were still to run: sums of other numbers of threads are rounded differently,
    and a resumed search would end with other figures. The workers of a group ask Ray for their own resources.
    """
    resources = ray.cluster_resources()
    cpus, gpus, own = resources.get("CPU", 1.0), resources.get("GPU", 0.0), training.cpus_per_worker
    if training.workers > 1:
        groups = gpus if gpus >= training.workers else cpus / own
        # a trial that held a whole CPU would leave none for its own workers on two cores
        return _Share(max(1, min(trials, int(groups // training.workers))), {"cpu": 0.01}, 1)
    room = int(gpus or cpus / max(1.0, own))
    concurrent_fits = max(1, min(trials, room))
    threads = threads or max(1, int(cpus) // max(1, min(total, room)))
    if gpus:
        return _Share(concurrent_fits, {"cpu": own, "gpu": 1}, threads)
    return _Share(concurrent_fits, {"cpu": own * threads}, threads)


def _train(config: Mapping[str, Any], study: Study, share: _Share) -> None:
    """Run a trial in a process of the cluster; unlike a lost process, an error is a result and not tried again."""
    try:
        trial = study.trial(_point(config))
        result = trial.result() or _fit(trial, study, share)
        tune.report(_progress(result.history, trial.plan.config.training.chosen_epoch))
    except Exception as error:
        # reported, not raised: Ray Tune would retry it like a lost process, with the same outcome
        tune.report({EPOCHS: 0, OBJECTIVE: math.nan, FAILURE: cluster.reason(error)})


def _fit(trial: Trial, study: Study, share: _Share) -> TrialResult:
    """Train or resume, score, and keep and return the result."""
    torch.set_num_threads(min(share.threads, cluster.threads()))
    history, choice = trial.history(), trial.plan.config.training.chosen_epoch

    def report(row: EpochMetrics) -> None:
        history.append(row)
        tune.report(_progress(history, choice))

    for epochs in range(1, len(history) + 1):  # the scheduler judges by earlier epochs, too
        tune.report(_progress(history[:epochs], choice))
    if trial.plan.config.training.workers > 1:
        fit_on_ray(trial.plan, [_Forward(history, choice)], share.concurrent_fits)
    else:
        run_plan(trial.plan, resolve_device(), report)
    kept = trial.history()
    epoch = best_epoch(kept, choice)
    if (last := trial.last_fit(epoch)) is not trial.plan:
        _run_to_end(last, share)
    result = TrialResult(kept, study.scoring(trial, epoch))
    trial.folder.finish(result)
    return result


def _run_to_end(plan: FitPlan, share: _Share) -> None:
    if plan.config.training.workers > 1:
        fit_on_ray(plan, concurrent_fits=share.concurrent_fits)
    else:
        run_plan(plan, resolve_device())


class _Forward(TuneReportCallback):  # type: ignore[misc]
    """Forwards to Ray Tune what the workers of a trial's group report."""

    def __init__(self, history: Sequence[EpochMetrics], choice: EpochChoice) -> None:
        super().__init__()
        self._history, self._choice = list(history), choice

    def after_report(self, run_context: Any, metrics: list[EpochMetrics], checkpoint: Any) -> None:
        self._history.append(metrics[0])
        super().after_report(run_context, [_progress(self._history, self._choice)], None)


class _Messenger(tune.Callback):  # type: ignore[misc]
    """Passes events of Ray Tune's loop in the driver on to a follower."""

    def __init__(self, follower: Follower) -> None:
        self._follower, self._looked = follower, 0.0

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._follower.started(_point(trial.config))

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        if time.monotonic() - self._looked >= POLL_SECONDS:
            self._follower.look()
            self._looked = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if FAILURE in trial.last_result:
            self._follower.failed(_point(trial.config), trial.last_result[FAILURE])
        else:
            self._follower.ended(_point(trial.config))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._follower.failed(_point(trial.config), cluster.reason(str(trial.get_error() or "its process was lost")))


def _point(config: Mapping[str, Any]) -> Point:
    """Return a trial's point from Ray Tune's configuration of it."""
    listed: Point = config.get(_LISTED, config)
    return listed


def _progress(history: Sequence[EpochMetrics], choice: EpochChoice) -> dict[str, float]:
    """Return what a trial is judged by: its number of epochs, and the validation AUC of the chosen (NaN without)."""
    return {EPOCHS: history[-1]["epoch"] + 1, OBJECTIVE: history[best_epoch(history, choice)].get(AUC, math.nan)}


def _optuna(draw: Draw, todo: Sequence[Point], training: TrainingConfig) -> OptunaSearch:
    """Return a sampler that knows the finished trials, and first returns the points to resume."""
    sampler = OptunaSearch(
        OptunaSearch.convert_search_space({name: _domain(values) for name, values in draw.space.rows.items()}),
        metric=OBJECTIVE,
        mode="max",
        points_to_evaluate=[dict(point) for point in todo],
        seed=training.seed + len(draw.past),  # else it would draw the first ones again
    )
    for trial in draw.past:
        value = _progress(trial.history, training.chosen_epoch)[OBJECTIVE] if trial.history else 0.0
        sampler.add_evaluated_point(dict(trial.point), value, error=not trial.history)
    return sampler


def _asha(draw: Draw, training: TrainingConfig) -> ASHAScheduler:
    """Return a scheduler whose rungs contain the finished trials."""
    asha = ASHAScheduler(
        time_attr=EPOCHS,
        metric=OBJECTIVE,
        mode="max",
        max_t=training.num_epochs + 1,  # trials end by themselves
        # after the warm-up: before, the low learning rate hides how settings differ
        grace_period=min(training.num_epochs, max(training.warmup_epochs + 1, training.num_epochs // KEPT_PART)),
        reduction_factor=KEPT_PART,
    )
    # from the storage root: Ray Tune's own snapshots are not used
    for number, trial in enumerate(draw.past):
        known = SimpleNamespace(trial_id=f"past-{number}")
        asha.on_trial_add(None, known)
        for epochs in range(1, len(trial.history) + 1):
            asha.on_trial_result(None, known, _progress(trial.history[:epochs], training.chosen_epoch))
    return asha


def _domain(values: OneOf | Between) -> Any:
    if isinstance(values, OneOf):
        return tune.choice(list(values.values))
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _quieten() -> None:
    """Keep Ray Tune and Optuna from printing beside us, and from taking over Ctrl-C."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cluster.quieten()  # the follower reports what failed
    cluster.restore_interrupt()
