"""Ray Tune round `fit`: the trials of a search, as many at a time as the cluster holds."""

import logging
import math
import os
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
import ray
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from anomalyclip.config import TrainingConfig
from anomalyclip.device import resolve_device
from anomalyclip.runs import RunFolder, RunKind, open_run, result_settings
from anomalyclip.storage import Storage
from anomalyclip.training.fit import EpochMetrics
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.validation import AUC, best_epoch
from anomalyclip.tuning.side_by_side import POLL_SECONDS, last_line
from anomalyclip.tuning.space import Between, OneOf, Point, Space

OBJECTIVE, EPOCHS, FAILURE = "best_video_auc", "epochs", "failure"
"""What a trial reports: the highest validation AUC so far, the epochs behind it, or why it failed."""
KEPT_PART = 3
"""One of so many trials is kept at each of ASHA's rungs, which are so many times as far apart as the one before."""


@dataclass(frozen=True)
class FitResult:
    """What a finished fit of a trial returns."""

    epochs: float
    best_video_auc: float
    history: Sequence[EpochMetrics]


@dataclass(frozen=True)
class SearchPlan:
    """What all trials of a search have in common; a trial is a fit with a point's values."""

    base: FitPlan
    space: Space
    content: Mapping[str, Any]
    """What decides a trial's result beside its settings: manifest, backbone, features."""

    def fit(self, point: Point) -> RunFolder:
        """Return a trial's place, named by all that decides its result, and shared by all searches."""
        content = {**self.content, **result_settings(self.space.applied(self.base.config, point))}
        return open_run(Storage(self.base.storage_root), RunKind.TRIAL, None, "trial", content)

    def plan(self, point: Point) -> FitPlan:
        """Return a trial's fit."""
        return replace(self.base, config=self.space.applied(self.base.config, point), key=self.fit(point).key)


@dataclass(frozen=True)
class Past:
    """A trial that has ended: what was tried, and how its epochs went."""

    point: Point
    history: Sequence[EpochMetrics]


class Follower(Protocol):
    """What is told, in the driver's process, how trials are doing."""

    def started(self, point: Point) -> None:
        """A trial starts, or starts again after it was killed."""

    def look(self) -> None:
        """Every few seconds: look for new checkpoints."""

    def ended(self, point: Point) -> None:
        """A trial has ended well, or the scheduler has stopped it."""

    def failed(self, point: Point, reason: str) -> None:
        """A trial has ended otherwise, why in one line."""


def run_trials(search: SearchPlan, todo: Sequence[Point], drawn: int, past: Sequence[Past], follower: Follower) -> None:
    """Run the trials to do, and as many as are to be `drawn` beside them, until all have ended.

    Optuna and ASHA judge them by what has ended before, too. A trial whose process is killed goes on from its last
    checkpoint, as often as the configuration allows.
    """
    if not todo and not drawn:
        return
    _quieten()
    storage = Storage(search.base.storage_root)
    ray_folder = f"{search.base.key}/ray"
    share = _share(search.base.config.training, len(todo) + drawn)
    trainable = tune.with_parameters(_train, search=search, share=share)
    tuner = tune.Tuner(
        tune.with_resources(trainable, share.resources),
        param_space={} if search.space.trials else _domains(search.space),
        tune_config=tune.TuneConfig(
            search_alg=_optuna(search, todo, past) if search.space.trials else BasicVariantGenerator(list(todo)),
            scheduler=_asha(search, past) if search.space.trials else None,
            num_samples=len(todo) + drawn,
            max_concurrent_trials=share.side_by_side,
            reuse_actors=True,  # libraries take seconds to import
        ),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex,  # a fresh name: what a search goes on from is its own trials
            storage_path=storage.path(ray_folder),
            storage_filesystem=storage.filesystem,
            callbacks=[_Teller(follower)],
            failure_config=tune.FailureConfig(max_failures=search.base.config.training.max_failures),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        storage.delete(ray_folder)


@dataclass(frozen=True)
class _Share:
    """What a trial has of the cluster."""

    side_by_side: int
    resources: Mapping[str, float]
    threads: int


def _share(training: TrainingConfig, trials: int) -> _Share:
    """Divide the cluster: a GPU a trial where there are any, else a CPU at least; a group's workers ask themselves."""
    cluster = ray.cluster_resources()
    cpus, gpus, own = cluster.get("CPU", 1.0), cluster.get("GPU", 0.0), training.cpus_per_worker
    if training.workers > 1:
        groups = gpus if gpus >= training.workers else cpus / own
        return _Share(max(1, min(trials, int(groups // training.workers))), {"cpu": 0.01}, 1)
    side_by_side = max(1, min(trials, int(gpus or cpus / max(1.0, own))))
    threads = max(1, int(cpus) // side_by_side)
    if gpus:
        return _Share(side_by_side, {"cpu": own, "gpu": 1}, threads)
    return _Share(side_by_side, {"cpu": own * threads}, threads)


def _train(point: Point, search: SearchPlan, share: _Share) -> None:
    """Run a trial in a process of the cluster; an error is its result, and not tried again as a lost process is."""
    try:
        result = search.fit(point).result(FitResult) or _fit(point, search, share)
        tune.report(_progress(result.history))
    except Exception as error:
        tune.report({EPOCHS: 0, OBJECTIVE: math.nan, FAILURE: last_line(error)})


def _fit(point: Point, search: SearchPlan, share: _Share) -> FitResult:
    """Train, or go on, and keep and return the result."""
    plan = search.plan(point)
    history = plan.checkpoints().history()

    def report(row: EpochMetrics) -> None:
        history.append(row)
        tune.report(_progress(history))

    for epochs in range(1, len(history) + 1):  # the scheduler judges by what went before, too
        tune.report(_progress(history[:epochs]))
    if plan.config.training.workers > 1:
        fit_on_ray(plan, [_Forward(history)], share.side_by_side)
    else:
        torch.set_num_threads(share.threads)
        run_plan(plan, resolve_device(), report)
    kept = plan.checkpoints().history()
    progress = _progress(kept)
    result = FitResult(progress[EPOCHS], progress[OBJECTIVE], kept)
    search.fit(point).finish(result)
    return result


class _Forward(TuneReportCallback):  # type: ignore[misc]
    """Tells Ray Tune what the workers of a trial's group report."""

    def __init__(self, history: Sequence[EpochMetrics]) -> None:
        super().__init__()
        self._history = list(history)

    def after_report(self, run_context: Any, metrics: list[EpochMetrics], checkpoint: Any) -> None:
        self._history.append(metrics[0])
        super().after_report(run_context, [_progress(self._history)], None)


class _Teller(tune.Callback):  # type: ignore[misc]
    """Tells a follower what Ray Tune's loop in the driver sees."""

    def __init__(self, follower: Follower) -> None:
        self._follower, self._looked = follower, 0.0

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._follower.started(trial.config)

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        if time.monotonic() - self._looked >= POLL_SECONDS:
            self._follower.look()
            self._looked = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if FAILURE in trial.last_result:
            self._follower.failed(trial.config, trial.last_result[FAILURE])
        else:
            self._follower.ended(trial.config)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._follower.failed(trial.config, last_line(str(trial.get_error() or "its process was lost")))


def _progress(history: Sequence[EpochMetrics]) -> dict[str, float]:
    """Return what a trial is judged by: the epochs behind it, and the validation AUC of the best of them."""
    return {EPOCHS: history[-1]["epoch"] + 1, OBJECTIVE: history[best_epoch(history)][AUC]}


def _optuna(search: SearchPlan, todo: Sequence[Point], past: Sequence[Past]) -> OptunaSearch:
    """Return a sampler that knows what has ended, and gives out first what is to do."""
    sampler = OptunaSearch(
        OptunaSearch.convert_search_space(_domains(search.space)),
        metric=OBJECTIVE,
        mode="max",
        points_to_evaluate=[dict(point) for point in todo],
        seed=search.base.config.training.seed + len(past),  # else it would draw the first ones again
    )
    for trial in past:
        value = _progress(trial.history)[OBJECTIVE] if trial.history else 0.0
        sampler.add_evaluated_point(dict(trial.point), value, error=not trial.history)
    return sampler


def _asha(search: SearchPlan, past: Sequence[Past]) -> ASHAScheduler:
    """Return a scheduler whose rungs hold what has ended."""
    training = search.base.config.training
    asha = ASHAScheduler(
        time_attr=EPOCHS,
        metric=OBJECTIVE,
        mode="max",
        max_t=training.epochs + 1,  # trials end by themselves
        grace_period=min(training.epochs, max(training.warmup_epochs + 1, training.epochs // KEPT_PART)),
        reduction_factor=KEPT_PART,
    )
    for number, trial in enumerate(past):
        known = SimpleNamespace(trial_id=f"past-{number}")
        asha.on_trial_add(None, known)
        for epochs in range(1, len(trial.history) + 1):
            asha.on_trial_result(None, known, _progress(trial.history[:epochs]))
    return asha


def _domains(space: Space) -> dict[str, Any]:
    return {name: _domain(values) for name, values in space.rows.items()}


def _domain(values: OneOf | Between) -> Any:
    if isinstance(values, OneOf):
        return tune.choice(list(values.values))
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _quieten() -> None:
    """Keep Ray Tune and Optuna from talking beside us, and from taking Ctrl-C for themselves."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the follower says what failed
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries have put their own in its place
