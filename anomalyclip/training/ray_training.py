"""Training on Ray: `fit` on workers of a cluster, started again from the last checkpoint if one is lost."""

import os
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import ray
import torch
from ray.train import FailureConfig, ScalingConfig, UserCallback
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchTrainer, get_device

from anomalyclip import cluster
from anomalyclip.errors import JobError
from anomalyclip.storage import Storage
from anomalyclip.training.fit_plan import FitPlan, run_plan


def fit_on_ray(plan: FitPlan, callbacks: Sequence[UserCallback] = (), concurrent_fits: int = 1) -> None:
    """Run a fit on the cluster that this process is connected to; its checkpoints are the result.

    `callbacks` receive the reports of the workers; `concurrent_fits` is the number of fits that share the cluster.
    Raises JobError if the workers fail more often than the configuration allows.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # otherwise every report waits for two seconds
    training = plan.config.training
    storage = Storage(plan.storage_root)
    ray_folder = f"{plan.key}/ray"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"plan": plan, "concurrent_fits": concurrent_fits},
        scaling_config=ScalingConfig(
            num_workers=training.workers,
            use_gpu=cluster.trains_on_gpus(training.workers),
            resources_per_worker={"CPU": training.cpus_per_worker},
        ),
        run_config=RayRunConfig(
            name=uuid.uuid4().hex,  # a fresh name: a fit resumes from its own checkpoints
            storage_path=storage.path(ray_folder),
            storage_filesystem=storage.filesystem,
            failure_config=FailureConfig(max_failures=training.max_failures),
            callbacks=list(callbacks),
        ),
    )
    try:
        refusal = _interruptible(trainer)
    except Exception as error:
        raise JobError(f"training failed: {cluster.reason(error)}") from error
    finally:
        # Ray's own snapshots are never read: a run is found by its name in the storage root, on any cluster
        storage.delete(ray_folder)
    if refusal:
        raise JobError(f"training failed: {refusal}")


def _interruptible(trainer: TorchTrainer) -> str | None:
    """Return what the first worker returned.

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
    threading.Thread(target=run, daemon=True).start()
    cluster.restore_interrupt()
    return outcome.result().return_value


def _worker(loop_config: dict[str, Any]) -> str | None:
    """Run a worker's part of a fit; returns why it stopped, if starting it again would end in the same way."""
    plan: FitPlan = loop_config["plan"]
    context = ray.train.get_context()
    # more threads than cores wait for each other: on a busy machine a step took 0.42 s on one, 2.2 s on two
    sharing = context.get_local_world_size() * loop_config["concurrent_fits"]
    torch.set_num_threads(cluster.threads(sharing))
    try:
        run_plan(plan, get_device(), on_epoch=ray.train.report)
    except JobError as error:  # a raised error would be retried like a lost worker
        return str(error)
    return None
