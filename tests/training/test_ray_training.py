"""Training on a cluster: how the failures of workers end it."""

import errno
import logging
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from ray.train import UserCallback

from anomalyclip.config import ModelConfig, RunConfig, TrainingConfig
from anomalyclip.errors import JobError
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from anomalyclip.training import ray_training
from anomalyclip.training.checkpoints import CheckpointStore
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.sampling import Bag

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def new_plan(storage: Storage, put_features: Callable[..., None], bags: list[Bag]) -> Callable[..., FitPlan]:
    """Return `new(broken=False, **training)`: a plan of a small fit; the features of a broken one are not finite."""

    def new(broken: bool = False, **training: int) -> FitPlan:
        fingerprint = "broken" if broken else "made-up"  # the cache of a node knows features by it
        store = FeatureStore(storage, fingerprint)
        for number, bag in enumerate(bags):
            features = np.random.default_rng(number).normal(size=(40, 8)).astype(np.float16)
            spoilt = broken and bag.video_id == "a0"
            put_features(store, bag.video_id, features * np.float16(np.nan if spoilt else 1))
        return FitPlan(
            config=RunConfig(
                model=ModelConfig(embedding_dim=16, heads=2, directions="free"),
                training=TrainingConfig(batch_size=8, **training),
            ),
            storage_root=storage.root,
            key="runs/fit",
            classes=["Arson", "Fighting", "Normal"],
            train=bags,
            validation=(),
            backbone_identity=None,
            fingerprint=fingerprint,
            sources={bag.video_id: bag.video_id for bag in bags},
        )

    return new


def test_a_loss_that_is_not_finite_ends_all_workers_once_and_leaves_no_checkpoint(
    new_plan: Callable[..., FitPlan],
) -> None:
    plan = new_plan(broken=True, epochs=3, workers=2, max_failures=5)
    with pytest.raises(JobError, match=r"^training failed: epoch 0, step [01]: the loss is not finite \(dir.*=nan"):
        fit_on_ray(plan)
    assert plan.checkpoints().epochs() == []


def test_a_full_disk_under_one_worker_ends_the_others_too(
    new_plan: Callable[..., FitPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker writes the checkpoint; the others wait for it at the end of each epoch."""

    def worker(loop_config: dict[str, Any]) -> None:  # local, so that it goes to the workers as it is
        def save(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/checkpoint")

        CheckpointStore.save = save  # type: ignore[method-assign]
        real(loop_config)

    real = ray_training._worker
    monkeypatch.setattr(ray_training, "_worker", worker)
    with pytest.raises(JobError, match=r"^training failed: no space left in /data/checkpoint, on .*the same command$"):
        fit_on_ray(new_plan(epochs=3, workers=2, max_failures=5))


def test_a_worker_that_is_killed_is_told_at_once_and_the_fit_ends_as_without(
    new_plan: Callable[..., FitPlan], caplog: pytest.LogCaptureFixture
) -> None:
    class Killer(UserCallback):  # type: ignore[misc]
        """Kills a worker after the first epoch, from Ray's process beside it."""

        done = False

        def after_report(self, **_: Any) -> None:
            beside = psutil.Process().parent().children()
            if not self.done:
                next(process for process in beside if "RayTrainWorker" in process.name()).kill()
            self.done = True

    plan = new_plan(epochs=40, workers=2, max_failures=2)
    with caplog.at_level(logging.WARNING, "anomalyclip"):
        fit_on_ray(plan, callbacks=[Killer()])
    assert max(plan.checkpoints().epochs()) == 39
    (line,) = [message for message in caplog.messages if "is lost" in message]
    assert re.fullmatch(
        r"worker [01] is lost: its process was killed or crashed .*; all resume from the last .*\(.*: 1 left\)", line
    )
