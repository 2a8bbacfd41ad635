"""Training on Ray: `fit` on workers of a cluster, started again from the last checkpoint if one is lost."""

import os
import re
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError
from ray.train import ControllerError, FailureConfig, ScalingConfig, UserCallback
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchTrainer, get_device

from anomalyclip import cluster
from anomalyclip.config import TrainingConfig
from anomalyclip.errors import JobError
from anomalyclip.full_disk import disk_errors
from anomalyclip.storage import Storage
from anomalyclip.training.fit_plan import FitPlan, run_plan
from anomalyclip.training.lost_workers import LostWorkers

LOOK_SECONDS = 1.0
_CUT_OFF = re.compile(r"gloo/transport.*(closed|reset|refused|broken)|ncclRemoteError", re.IGNORECASE)
"""What PyTorch says where the process at the other end has died."""


def fit_on_ray(plan: FitPlan, callbacks: Sequence[UserCallback] = (), concurrent_fits: int = 1) -> None:
    """Run a fit on the cluster that this process is connected to; its checkpoints are the result.

    Nothing is left to run if they hold all epochs.

    `callbacks` receive the reports of the workers; `concurrent_fits` is the number of fits that share the cluster.
    Raises JobError if the workers fail more often than the configuration allows, or the cluster has no room for them.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # otherwise every report waits for two seconds
    training = plan.config.training
    storage = Storage(plan.storage_root)
    ray_folder = f"{plan.key}/ray"
    if len(plan.checkpoints().history()) >= plan.epochs:
        storage.delete(ray_folder)  # left by a driver that was killed after the last epoch
        return
    name, on_gpus = uuid.uuid4().hex, cluster.trains_on_gpus(training.workers)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"plan": plan, "concurrent_fits": concurrent_fits},
        scaling_config=ScalingConfig(
            num_workers=(training.min_workers, training.workers) if training.min_workers else training.workers,
            use_gpu=on_gpus,
            resources_per_worker={"CPU": training.cpus_per_worker},
        ),
        run_config=RayRunConfig(
            name=name,  # a fresh name: a fit resumes from its own checkpoints
            storage_path=storage.path(ray_folder),
            storage_filesystem=storage.filesystem,
            failure_config=FailureConfig(max_failures=training.max_failures),
            callbacks=[_Teller(name, training.max_failures), *callbacks],
        ),
    )
    try:
        _interruptible(trainer, _lost_workers(name, training, on_gpus))
    except JobError:
        raise
    except ControllerError as error:
        raise JobError(f"training failed: {cluster.reason(error.controller_failure)}") from error
    except Exception as error:
        raise JobError(f"training failed: {cluster.told(name) or cluster.reason(error)}") from error
    finally:
        # Ray's own snapshots are never read: a run is found by its name in the storage root, on any cluster
        storage.delete(ray_folder)


class _Teller(UserCallback):  # type: ignore[misc]
    """Tells the process that started a fit, from Ray's own, which workers were lost."""

    def __init__(self, name: str, max_failures: int) -> None:
        self._name, self._left = name, max_failures

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Leave a line for the fit; raises JobError if a worker did, for it would do so again."""
        for error in worker_exceptions.values():
            if isinstance(error, JobError):
                # to Ray an error of its own, after which it ends all workers, which wait for this one, and starts none
                raise error
        self._left -= 1
        # Ray wraps what its check of a worker met
        causes = {rank: getattr(error, "health_check_failure", error) for rank, error in worker_exceptions.items()}
        # the others fail after the first, for they wait for it: what Ray says of a process is the cause
        died = {rank: error for rank, error in causes.items() if isinstance(error, RayActorError)}
        rank, error = next(iter((died or causes).items()))
        then = f"all resume from the last checkpoint (training.max_failures: {self._left} left)"
        if self._left < 0:
            then = "training.max_failures allows no more; the same command resumes from the last checkpoint"
        cluster.tell(self._name, f"worker {rank} is lost: {_cause(error)}; {then}")


def _cause(error: Exception) -> str:
    """Return why a worker was lost, one line: of a process Ray tells a page of what may be."""
    if not isinstance(error, RayActorError):
        told = cluster.reason(error)
        return "its connection to another worker broke, which is lost too" if _CUT_OFF.search(told) else told
    if "node has died" in str(error):
        return "its node died"
    return "its process was killed or crashed (if the kernel did it for want of memory, dmesg of the node says so)"


def _lost_workers(name: str, training: TrainingConfig, on_gpus: bool) -> LostWorkers:
    cpus, gpus = training.cpus_per_worker, int(on_gpus)
    return LostWorkers(
        needed=training.fewest_workers,
        each=f"{cpus:g} CPUs" + (" and a GPU" if on_gpus else ""),
        room=lambda: cluster.room(cpus, gpus),
        lost_nodes=cluster.lost_nodes,
        told=lambda: cluster.told(name),
    )


def _interruptible(trainer: TorchTrainer, lost_workers: LostWorkers) -> None:
    """Run the fit to its end; raises JobError if there is no room for the workers.

    The fit runs in a thread of its own: in the main thread Ray Train handles Ctrl-C itself and continues for a while.
    """
    # a Future carries an error out of the thread, where it would only be printed
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(trainer.fit())
        except BaseException as error:
            outcome.set_exception(error)

    # daemon: after Ctrl-C the process must not wait for it
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    cluster.restore_interrupt()
    while thread.is_alive():
        lost_workers.look()
        thread.join(LOOK_SECONDS)
    outcome.result()


def _worker(loop_config: dict[str, Any]) -> None:
    """Run a worker's part of a fit."""
    plan: FitPlan = loop_config["plan"]
    context = ray.train.get_context()
    # more threads than cores wait for each other: on a busy machine a step took 0.42 s on one, 2.2 s on two
    sharing = context.get_local_world_size() * loop_config["concurrent_fits"]
    torch.set_num_threads(cluster.threads(sharing))
    with disk_errors([Storage(plan.storage_root)]):
        run_plan(plan, get_device(), on_epoch=ray.train.report)
