"""Training on a cluster: how the failures of workers end it."""

from collections.abc import Callable

import numpy as np
import pytest

from anomalyclip.config import ModelConfig, RunConfig, TrainingConfig
from anomalyclip.errors import JobError
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from anomalyclip.training.fit_plan import FitPlan
from anomalyclip.training.ray_training import fit_on_ray
from anomalyclip.training.sampling import Bag

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]


def test_a_loss_that_is_not_finite_ends_all_workers_once_and_leaves_no_checkpoint(
    storage: Storage, put_features: Callable[..., None], bags: list[Bag]
) -> None:
    store = FeatureStore(storage, "broken")
    for number, bag in enumerate(bags):
        features = np.random.default_rng(number).normal(size=(40, 8)).astype(np.float16)
        put_features(store, bag.video_id, features * np.float16(np.nan if bag.video_id == "a0" else 1))
    plan = FitPlan(
        config=RunConfig(
            model=ModelConfig(embedding_dim=16, heads=2, directions="free"),
            training=TrainingConfig(batch_size=8, epochs=3, workers=2, max_failures=5),
        ),
        storage_root=storage.root,
        key="runs/broken",
        classes=["Arson", "Fighting", "Normal"],
        train=bags,
        validation=(),
        backbone_identity=None,
        fingerprint="broken",
        sources={bag.video_id: bag.video_id for bag in bags},
    )
    with pytest.raises(JobError, match=r"^training failed: epoch 0, step [01]: the loss is not finite \(dir.*=nan"):
        fit_on_ray(plan)
    assert plan.checkpoints().epochs() == []
